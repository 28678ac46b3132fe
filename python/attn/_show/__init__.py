"""Pictures of attention: attn.show."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from . import draw, page
from .stack import Stack, is_bars, make_stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = ("matrix", "lines", "bars", "grid", "table")
_PICTURES = (".png", ".svg", ".pdf")
_ROWS = 24  # of a text
_COLUMNS = 4


class Picture:
    """What attn.show returns. A notebook shows it as a page to pick layers and heads and to hover
    tokens in; a terminal, as text.

    Attributes: kind, what is drawn; title.
    """

    def __init__(self, stack: Stack, kind: str | None, view: str | None, dark: bool | None):
        offered = _offered(stack)
        self.kind = kind or _kind_of(view, offered)
        # All heads are beside each head's matrix in a page, whose readers choose.
        self._first = "matrix" if kind is None and self.kind == "grid" else self.kind
        bars = stack.bars()
        self._bars = view if view in bars else bars[0] if bars else None
        self._stack, self._dark = stack, dark
        self.title = stack.title

    def axes(self, ax: Axes | None = None) -> Axes:
        """Draws into matplotlib axes, or into those of a new figure, and returns them.

        Errors: ModuleNotFoundError without matplotlib.
        """
        return draw.draw(self._stack, self.kind, self._bars, ax, self._dark)

    def html(self) -> str:
        """The page: one file that needs nothing else, and no network."""
        return page.make_page(self._stack, self._first)

    def save(self, path: str | os.PathLike, **options: Any) -> None:
        """Writes a file of the kind that its name's end says: .png, .svg or .pdf, of what axes()
        draws, or .html, the page.

        Args:
            options: of matplotlib's Figure.savefig, as dpi.

        Errors: ValueError for another end, OSError.
        """
        end = os.path.splitext(os.fspath(path))[1].lower()
        if end != ".html" and end not in _PICTURES:
            raise ValueError(f"path is {str(path)!r}: expected one that ends in "
                             f"{', '.join(_PICTURES)} or .html")  # fmt: skip
        if end == ".html" and options:
            raise ValueError(f"{', '.join(options)}: a page has no options of a picture")
        # A file that is there is replaced only by a whole one.
        beside = f"{os.fspath(path)}.{os.getpid()}{end}"
        try:
            self._write(beside, end, options)
            os.replace(beside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(beside)

    def _write(self, path: str, end: str, options: dict) -> None:
        if end == ".html":
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.html())
        else:
            figure = self.axes().figure
            figure.savefig(path, **{"dpi": 150, "facecolor": figure.get_facecolor(), **options})

    def _repr_html_(self) -> str:
        return page.make_frame(self._stack, self._first)

    def __repr__(self) -> str:
        return _text(self._stack, self._bars)


# --- As text ------------------------------------------------------------------------------------


def _text(stack: Stack, bars: str | None) -> str:
    """The first head's strongest keys of each query, or its numbers."""
    head = (
        f"{stack.title}: {len(stack.layers)} x {len(stack.heads)} heads, {stack.queries} queries, "
    )
    lines = [head + f"{stack.keys} keys; {stack.layers[0]}, head {stack.heads[0]}:"]
    found = stack.top(0, 0, _COLUMNS)
    if found is not None:
        lines += _strongest_lines(stack, *found)
    elif bars is not None:
        numbers = stack.numbers(bars, 0, 0)
        words = stack.key_tokens if len(numbers) == len(stack.key_tokens) else stack.query_tokens
        lines += [f"{_word(words, i)}  {numbers[i]:.3f}" for i in range(len(numbers))]
    left_out = len(lines) - 1 - _ROWS
    if left_out > 0:
        lines[_ROWS + 1 :] = [f"(and {left_out} more)"]
    return "\n".join(lines)


def _word(words: list[str], i: int) -> str:
    return words[i] if words else str(i)


def _strongest_lines(stack: Stack, keys: np.ndarray, weights: np.ndarray | None) -> list[str]:
    names = [_word(stack.query_tokens, i) for i in range(stack.queries)]
    width = min(max(map(len, names)), 16)
    lines = []
    for i, name in enumerate(names):
        ends = [("" if weights is None else f"{weights[i, rank]:.2f} ")
                + _word(stack.key_tokens, key)
                for rank, key in enumerate(keys[i]) if key >= 0]  # fmt: skip
        lines.append(f"{name:>{width}} -> " + "  ".join(ends))
    return lines


# --- attn.show ----------------------------------------------------------------------------------


def _offered(stack: Stack) -> list[str]:
    """The kinds of picture that a stack has what for, the best first."""
    has_top = "top_keys" in stack.views or "argmax" in stack.views
    has_map = stack.matrix is not None or has_top or "block_sums" in stack.views
    several = stack.heads_in_all > 1
    offered = {
        "grid": has_map and several,
        "matrix": has_map or "path" in stack.views,
        "bars": bool(stack.bars()),
        "lines": stack.matrix is not None or has_top,
        "table": stack.statistics() is not None,
    }
    return [kind for kind, there in offered.items() if there]


def _check_kind(stack: Stack, kind: str | None) -> None:
    if kind is None:
        return
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}: expected one of {', '.join(KINDS)}")
    offered = _offered(stack)
    if kind not in offered:
        raise ValueError(f"kind is {kind!r}: data has what is needed for {', '.join(offered)}")


def _kind_of(view: str | None, offered: list[str]) -> str:
    if view is not None and is_bars(view):
        return "bars"
    return "table" if view == "head_statistics" else offered[0]


def show(
    data: Any,
    *,
    tokens: Any = None,
    source_tokens: Any = None,
    target_tokens: Any = None,
    layer: Any = None,
    head: Any = None,
    batch: int | None = None,
    attentions: str | None = None,
    view: str | None = None,
    kind: str | None = None,
    title: str | None = None,
    dark: bool | None = None,
    ax: Axes | None = None,
) -> Any:
    """Shows attention: in a notebook, as matplotlib axes, as a file.

        attn.show(weights, tokens=words)                      # last in a notebook's cell
        attn.show(model(**inputs, output_attentions=True), tokens=words, layer=2)
        attn.show(weights, tokens=words).save("weights.png")  # or .svg, .pdf, .html
        attn.show(weights, tokens=words, ax=axes[0])

    Args:
        data: a matrix of weights [n_query, n_key], [heads, ...] or [layers, heads, ...]; an
            attn.Views, or a list of them or a mapping to them, one for each layer; or what a model
            of transformers returned, from a call or from generate(). Arrays are NumPy's, PyTorch's
            or nested lists.
        tokens: words of keys and queries alike. If there are fewer queries than keys, as beside a
            cache, the queries are the last of them.
        source_tokens, target_tokens: words of the keys and of the queries, where they differ.
        layer, head: which to show, a number or a list of them; None: all.
        batch: which entry of a batch; needed if there are several. It says of an array of weights
            that it is [batch, heads, ...] or [layers, batch, heads, ...].
        attentions: "encoder", "decoder" or "cross", of what an encoder-decoder returned.
        view: what an array is a view of ("received_sum", ...: see attn.attention), if not of
            weights; or which of an attn.Views to show first. Of several matrices, one is shown.
        kind: what to show first: "matrix", "lines", "bars", "grid" (all heads) or "table" (head
            statistics); None: by what there is.
        title: None: what data are.
        dark: colours of matplotlib's pictures: None: those for the axes' background. Pages follow
            their reader's, who can change them.
        ax: matplotlib axes to draw into.

    Returns:
        An object that notebooks show; with save(path), axes(), html(). With ax: ax.

    Numbers of keys (received_*) are bars, of queries (entropy, ...) a line; path is a line over the
    matrix. Views that are not in data are told from its weights, if it has those: received_sum,
    entropy, head_statistics. Of more than a million weights a page has blocks and each query's
    strongest keys.

    Errors: ValueError, TypeError, with a sentence that names the argument.
    """
    stack = make_stack(data, view=view, layer=layer, head=head, batch=batch, attentions=attentions,
                       tokens=tokens, source_tokens=source_tokens, target_tokens=target_tokens,
                       title=title)  # fmt: skip
    _check_kind(stack, kind)
    picture = Picture(stack, kind, view, dark)
    return picture if ax is None else picture.axes(ax)
