"""A stack as one self-contained page: io/page.html with its style and script, which the command
`attn show` writes too, and the data that the script reads (io/html.h has the same parts)."""

from __future__ import annotations

import base64
import functools
import html
import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

from attn import _core

from . import colors
from .stack import KEYS, STATISTICS, Stack, form_of, label_of

WEIGHTS_MOST = 1 << 20  # weights that a page holds as they are: 5.6 MB of text
BYTES_MOST = 16 << 20  # what the views of more than that may take, as text
BLOCKS = 64  # cells a side of a coarse matrix
TOP_MOST = 8  # strongest keys of a query, where a page has not the weights themselves


@functools.cache
def _template() -> tuple[str, str]:
    """What goes before the data and after them."""
    folder = resources.files(__package__)
    text = {kind: (folder / f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")}
    page = text["html"].replace("@style@", text["css"]).replace("@script@", text["js"])
    before, _, after = page.partition("@data@")
    return before, after


# --- Parts of a head ----------------------------------------------------------------------------


def _packed(numbers: np.ndarray, size: int) -> bytes:
    """Lowest and highest as float32, then each number's share of the way between, in steps that
    leave the greatest integer for NaN. Infinities count as the nearer end."""
    numbers = np.asarray(numbers, np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = np.float32(finite.min(initial=0)), np.float32(finite.max(initial=0))
    steps = 256**size - 2
    span = float(high) - float(low)
    shares = (numbers - float(low)) / span if span > 0 else np.zeros_like(numbers)
    codes = np.where(np.isnan(numbers), steps + 1, np.round(steps * np.clip(shares, 0, 1)))
    return np.array([low, high], "<f4").tobytes() + codes.astype(f"<u{size}").tobytes()


def _key_size(keys: int) -> int:
    """Bytes of a key: the greatest number stands for none."""
    return 2 if keys < 1 << 16 else 4


def _keys(keys: np.ndarray, size: int) -> bytes:
    return keys.astype(f"<i{size}" if size == 4 else "<i8").astype(f"<u{size}").tobytes()


def _reduced(matrix: np.ndarray, most: int) -> np.ndarray:
    """The largest of each block, at most `most` blocks a side."""
    down, across = (-(-n // most) for n in matrix.shape)
    rows = np.maximum.reduceat(matrix, np.arange(0, matrix.shape[0], down), axis=0)
    return np.maximum.reduceat(rows, np.arange(0, matrix.shape[1], across), axis=1)


# --- What a page has ----------------------------------------------------------------------------


@dataclass
class Plan:
    """matrix: "weights" as they are, "blocks", "top" or "" for none. top: so many strongest keys of
    a query."""

    matrix: str
    top: int
    each: tuple[int, int] = (0, 0)  # queries and keys of a block
    cells: tuple[int, int] = (0, 0)  # blocks
    note: str = ""


def _plan(stack: Stack) -> Plan:
    has_top = "top_keys" in stack.views or "argmax" in stack.views
    if stack.matrix is not None:
        if stack.views[stack.matrix].size <= WEIGHTS_MOST:
            return Plan("weights", 0)
        each = -(-stack.queries // BLOCKS), -(-stack.keys // BLOCKS)
        plan = _with_cells(Plan("blocks", min(TOP_MOST, stack.keys), each), stack)
        plan.note = f"a cell is the largest of {each[0]} × {each[1]} weights"
    elif "block_sums" in stack.views:
        rows, columns = stack.views["block_sums"].shape[2:]
        sizes = stack.block_sizes()
        plan = Plan("blocks", _given_top(stack), sizes, (rows, columns))
        plan.note = f"a cell is the mean of {sizes[0]} × {sizes[1]} weights"
    else:
        plan = Plan("top" if has_top else "", _given_top(stack))
    _fit(plan, stack)
    if plan.top:
        plan.note += f"{'; ' if plan.note else ''}each query with its {plan.top} strongest keys"
    return plan


def _with_cells(plan: Plan, stack: Stack) -> Plan:
    plan.cells = -(-stack.queries // plan.each[0]), -(-stack.keys // plan.each[1])
    return plan


def _given_top(stack: Stack) -> int:
    if "top_keys" in stack.views:
        return stack.views["top_keys"].shape[-1]
    return int("argmax" in stack.views)


def _fit(plan: Plan, stack: Stack) -> None:
    """Fewer strongest keys, if all would be too much."""
    bars = sum(2 * stack.numbers(view, 0, 0).size for view in stack.bars())
    fixed = plan.cells[0] * plan.cells[1] + bars
    pair = stack.queries * (_key_size(stack.keys) + 2)

    def size() -> float:
        return (fixed + plan.top * pair) * stack.heads_in_all * 4 / 3

    while plan.top > 1 and size() > BYTES_MOST:
        plan.top -= 1
    if size() > BYTES_MOST:
        raise ValueError(
            f"data: the views of {stack.heads_in_all} heads would take {size() / 2**20:.0f} MiB of "
            f"a page: expected at most {BYTES_MOST >> 20} (choose by layer= or head=)"
        )


def _head_parts(stack: Stack, plan: Plan, layer: int, head: int):
    """(name, bytes) of what the script reads of a head."""
    size = _key_size(stack.keys)
    if plan.matrix == "weights":
        yield "weights", stack.views[stack.matrix][layer, head].astype("<f4").tobytes()
    if plan.matrix == "blocks":
        given = "block_sums" in stack.views and stack.matrix is None
        cells = (stack.block_means(layer, head) if given
                 else _reduced(stack.views[stack.matrix][layer, head], BLOCKS))  # fmt: skip
        yield "blocks", _packed(cells, 1)
    if plan.top:
        keys, weights = stack.top(layer, head, plan.top)
        yield "top_keys", _keys(keys, size)
        if weights is not None:
            yield "top_weights", _packed(weights, 2)
    if "path" in stack.views:
        yield "path", _keys(stack.views["path"][layer, head], size)
    for i, view in enumerate(stack.bars()):
        yield f"bars{i}", _packed(stack.numbers(view, layer, head), 2)


def _facts(stack: Stack, plan: Plan, kind: str) -> dict:
    """About all heads."""
    statistics = stack.statistics()
    light, dark = ("".join(colors.scale(is_dark)) for is_dark in (False, True))
    return {
        "title": stack.title, "note": plan.note, "kind": kind, "version": _core.version,
        "queries": stack.queries, "keys": stack.keys, "layers": stack.layers, "heads": stack.heads,
        "query_tokens": stack.query_tokens, "key_tokens": stack.key_tokens,
        "matrix": plan.matrix, "top": plan.top,
        "blocks": {"rows": plan.cells[0], "columns": plan.cells[1],
                   "queries": plan.each[0], "keys": plan.each[1]},
        "weighed": stack.matrix is not None or "top_weights" in stack.views,
        "key_bytes": _key_size(stack.keys), "path": "path" in stack.views,
        "bars": [{"label": label_of(view), "of_keys": form_of(view) == KEYS}
                 for view in stack.bars()],
        "statistic_names": [] if statistics is None else list(STATISTICS),
        # JSON has no NaN.
        "statistics": [] if statistics is None else np.nan_to_num(statistics).tolist(),
        "light": light, "dark": dark,
        "light_hues": colors.HUES[False], "dark_hues": colors.HUES[True],
    }  # fmt: skip


def make_page(stack: Stack, kind: str) -> str:
    """kind: the view that is shown first."""
    plan = _plan(stack)
    before, after = _template()
    # Inside a <script> "</script" would end it, and "<!--" change how it is read.
    facts = json.dumps(_facts(stack, plan, kind), allow_nan=False).replace("<", "\\u003c")
    parts = [f"<script id='data' type='application/json'>\n{facts}\n</script>"]
    for layer in range(len(stack.layers)):
        for head in range(len(stack.heads)):
            for name, content in _head_parts(stack, plan, layer, head):
                text = base64.b64encode(content).decode("ascii")
                parts.append(
                    f"<script type='text/plain' id='{name}.{layer}.{head}'>{text}</script>"
                )
    return before + "\n".join(parts) + after


# A notebook gives an output the width of its cell: the frame's height follows its page's. Where
# scripts are not trusted, it keeps the first height, and scrolls.
_FRAME = """<iframe title="{title}" srcdoc="{page}" style="width: 100%; height: {height}px; \
max-height: 60rem; border: 0; border-radius: 6px" onload="const page = this.contentDocument.body; \
new ResizeObserver(() => this.style.height = page.offsetHeight + 'px').observe(page)"></iframe>"""


def make_frame(stack: Stack, kind: str) -> str:
    """The page for a notebook's output, apart from the notebook's own names and styles."""
    page = html.escape(make_page(stack, kind))
    return _FRAME.format(title=html.escape(stack.title), page=page, height=560)
