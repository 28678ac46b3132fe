"""A stack as matplotlib axes. matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import colors
from .stack import KEYS, STATISTICS, Stack, form_of, label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = 5  # strongest keys of a query that have lines: more would only be a haze
FAINTEST = 1 / 50  # of the strongest: what is less could not be seen
LABELS_MOST = 72  # tokens that are all named; of more, a few places
LABEL_LENGTH = 24
CHARACTER = 5.5  # points that one of a small label takes, about
BUNDLES = 72  # places of a side where lines of a long text begin and end


class Brush:
    """What all drawings share: colours for the axes' surroundings."""

    def __init__(self, ax: Axes, dark: bool):
        from matplotlib.colors import ListedColormap

        self.ax, self.dark = ax, dark
        self.paper, _, self.ink, self.faint, self.line = colors.INKS[dark]
        scale = ListedColormap(["#" + color for color in colors.scale(dark)], "attn")
        self.scale = scale.with_extremes(bad=colors.NOT_A_NUMBER)
        self.hues = colors.HUES[dark]

    def plain(self, ax: Axes) -> None:
        ax.tick_params(colors=self.ink, length=0, labelsize="small")
        for spine in ax.spines.values():
            spine.set_color(self.line)

    def title(self, text: str) -> None:
        # Not the title's own place: labels of columns are above the picture.
        self.ax.set_title(text, color=self.ink, loc="left", parse_math=False, fontsize="medium")

    def text_on(self, share: float) -> str:
        step = round(255 * min(max(share, 0), 1)) if np.isfinite(share) else 0
        return "#111111" if colors.is_pale(colors.scale(self.dark)[step]) else "#ffffff"


# --- Tokens -------------------------------------------------------------------------------------


def _short(token: str) -> str:
    """One line, of a width that leaves room for the picture."""
    line = " ".join(token.split()) if token.strip() else "␣" * bool(token)
    return line if len(line) <= LABEL_LENGTH else line[: LABEL_LENGTH - 1] + "…"


def _name(axis, words: Sequence[str], count: int, **style) -> None:
    """Ticks of an axis: every token, or numbers at round places."""
    from matplotlib.ticker import MaxNLocator

    if words and count <= LABELS_MOST:
        axis.set_ticks(range(count), [_short(word) for word in words], parse_math=False, **style)
    elif count <= 12:
        axis.set_ticks(range(count))
    else:
        axis.set_major_locator(MaxNLocator(nbins=10, integer=True))


def _across(ax: Axes, words: Sequence[str], count: int) -> None:
    """Words below or above the picture stand upright where one of them has not the room to lie."""
    sizes = [ax.bbox.width / count]
    if ax.get_aspect() == 1:  # cells are squares
        sizes.append(ax.bbox.height / (ax.get_ylim()[0] - ax.get_ylim()[1]))
    room = 0.8 * min(sizes) / ax.figure.dpi * 72  # in points; labels will make the axes smaller
    longest = max((len(_short(word)) for word in words), default=0)
    upright = (longest + 1) * CHARACTER > room
    _name(ax.xaxis, words, count, rotation=90 if upright else 0)


# --- Drawings -----------------------------------------------------------------------------------


def _range(cells: np.ndarray) -> tuple[float, float]:
    finite = cells[np.isfinite(cells)]
    low, high = finite.min(initial=0), finite.max(initial=0)
    return float(low), float(high) if high > low else float(low) + 1


def _paint(brush: Brush, ax: Axes, cells: np.ndarray, **placed):
    low, high = _range(cells)
    shown = np.clip(cells, low, high)  # infinities count as the nearer end
    return ax.imshow(
        shown, cmap=brush.scale, vmin=low, vmax=high, interpolation="nearest", **placed
    )


def _scale_bar(brush: Brush, image):
    bar = brush.ax.figure.colorbar(image, cax=brush.ax.inset_axes((1.02, 0, 0.025, 1)))
    brush.plain(bar.ax)
    bar.outline.set_edgecolor(brush.line)
    return bar


def _cells(stack: Stack, layer: int, head: int) -> np.ndarray:
    """The matrix, or as much of it as views tell."""
    if stack.matrix is not None:
        return stack.views[stack.matrix][layer, head]
    if "block_sums" in stack.views:
        return stack.block_means(layer, head)
    cells = np.zeros((stack.queries, stack.keys), np.float32)
    found = stack.top(layer, head, stack.keys)
    if found is not None:
        keys, weights = found
        queries = np.arange(stack.queries)[:, None]
        known = np.ones(keys.shape, np.float32) if weights is None else weights
        cells[np.broadcast_to(queries, keys.shape)[keys >= 0], keys[keys >= 0]] = known[keys >= 0]
    return cells


def _head_title(stack: Stack, layer: int, head: int) -> str:
    parts = [stack.layers[layer]] if len(stack.layers) > 1 else []
    parts += [f"head {stack.heads[head]}"] if len(stack.heads) > 1 else []
    return ": ".join(filter(None, [stack.title, ", ".join(parts)]))


def _matrix(brush: Brush, stack: Stack, layer: int, head: int, alone: bool) -> None:
    ax = brush.ax
    cells = _cells(stack, layer, head)
    edges = (-0.5, stack.keys - 0.5, stack.queries - 0.5, -0.5)
    image = _paint(brush, ax, cells, extent=edges,
                   aspect="equal" if _is_squarish(stack) else "auto")  # fmt: skip
    ax.xaxis.tick_top()
    _across(ax, stack.key_tokens, stack.keys)
    _name(ax.yaxis, stack.query_tokens, stack.queries)
    if "path" in stack.views:
        _path(brush, stack.views["path"][layer, head])
    ax.set_xlabel("keys", color=brush.faint, fontsize="small")
    ax.set_ylabel("queries", color=brush.faint, fontsize="small")
    if alone and np.any(cells):
        _scale_bar(brush, image)
    brush.title(_head_title(stack, layer, head))


def _is_squarish(stack: Stack) -> bool:
    return 1 / 6 <= stack.queries / stack.keys <= 6


def _path(brush: Brush, path: np.ndarray) -> None:
    """Through the keys that each query visits, from its first to its last."""
    visited = path[:, 0] >= 0
    x = path[visited].reshape(-1)
    y = np.repeat(np.arange(len(path))[visited], 2)
    brush.ax.plot(x, y, color=brush.hues[colors.PATH_HUE], linewidth=2, solid_joinstyle="round")


def _links(stack: Stack, layer: int, head: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(where a line begins, where it ends, from 0 to 1; its share of the strongest), rising.

    Thousands of lines would cover each other: of a long text those from like places to like places
    become one, by their sum.
    """
    keys, weights = stack.top(layer, head, LINES)
    weights = np.where(keys >= 0, 1.0 if weights is None else weights, 0)
    query, rank = np.nonzero(weights)
    left, right = (query + 0.5) / stack.queries, (keys[query, rank] + 0.5) / stack.keys
    weights = weights[query, rank]
    if min(stack.queries, stack.keys) > 2 * BUNDLES:
        places = (left * BUNDLES).astype(int) * BUNDLES + (right * BUNDLES).astype(int)
        sums = np.bincount(places, weights, BUNDLES**2)
        (bundle,) = np.nonzero(sums)
        left, right = ((place + 0.5) / BUNDLES for place in divmod(bundle, BUNDLES))
        weights = sums[bundle]
    shares = weights / weights.max(initial=1e-30)
    order = np.argsort(shares)[np.sum(shares <= FAINTEST) :]
    return left[order], right[order], shares[order]


def _lines(brush: Brush, stack: Stack, layer: int, head: int, alone: bool) -> None:
    """From each query, on the left, to its strongest keys."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    ax = brush.ax
    left, right, shares = _links(stack, layer, head)
    curve = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    paths = [
        Path([(0, a), (0.4, a), (0.6, b), (1, b)], curve) for a, b in zip(left, right, strict=True)
    ]
    lines = PathCollection(paths, facecolors="none", edgecolors=brush.hues[0], linewidths=1.5,
                           alpha=shares if len(shares) else None)  # fmt: skip
    ax.add_collection(lines)
    ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[])
    other = ax.twinx()
    other.set_ylim(1, 0)
    for side, words, count in ((ax, stack.query_tokens, stack.queries),
                               (other, stack.key_tokens, stack.keys)):  # fmt: skip
        _name_places(side.yaxis, words, count)
        brush.plain(side)
        for spine in side.spines.values():
            spine.set_visible(False)
    brush.title(_head_title(stack, layer, head))


def _name_places(axis, words: Sequence[str], count: int) -> None:
    """As _name, of tokens that share the stretch from 0 to 1."""
    from matplotlib.ticker import MaxNLocator

    shown, names = range(count), [_short(word) for word in words]
    if not words or count > LABELS_MOST:
        places = MaxNLocator(nbins=10, integer=True).tick_values(0, count - 1)
        shown = [int(place) for place in places if 0 <= place < count]
        names = [str(i) for i in shown]
    axis.set_ticks([(i + 0.5) / count for i in shown], names, parse_math=False)


def _bars(brush: Brush, stack: Stack, layer: int, head: int, alone: bool, view: str) -> None:
    """Numbers of keys as bars; of queries, which follow one another, as a line."""
    ax, of_keys = brush.ax, form_of(view) == KEYS
    if alone and stack.heads_in_all > 1:
        return _bars_of_heads(brush, stack, view)
    numbers = stack.numbers(view, layer, head)
    if of_keys:
        ax.bar(range(len(numbers)), numbers, color=brush.hues[0], width=0.8)
    else:
        marker = "o" if len(numbers) <= LABELS_MOST else None
        ax.plot(numbers, color=brush.hues[0], marker=marker, markersize=4)
    if np.all(numbers[np.isfinite(numbers)] >= 0):
        ax.set_ylim(bottom=0)
    ax.set_xlim(-0.6, len(numbers) - 0.4)
    _across(ax, stack.key_tokens if of_keys else stack.query_tokens, len(numbers))
    ax.set_xlabel("keys" if of_keys else "queries", color=brush.faint, fontsize="small")
    if stack.title.lower() != label_of(view):
        ax.set_ylabel(label_of(view), color=brush.ink, fontsize="small")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(axis="y", color=brush.line, linewidth=0.5)
    ax.set_axisbelow(True)
    brush.title(_head_title(stack, layer, head))


def _bars_of_heads(brush: Brush, stack: Stack, view: str) -> None:
    """A row for each head."""
    ax, of_keys = brush.ax, form_of(view) == KEYS
    heads = [
        (layer, head) for layer in range(len(stack.layers)) for head in range(len(stack.heads))
    ]
    cells = np.array([stack.numbers(view, *head) for head in heads])
    bar = _scale_bar(brush, _paint(brush, ax, cells, aspect="auto"))
    ax.xaxis.tick_top()
    _across(ax, stack.key_tokens if of_keys else stack.query_tokens, cells.shape[1])
    several = len(stack.layers) > 1
    names = [(f"{stack.layers[layer]}, " if several else "") + f"head {stack.heads[head]}"
             for layer, head in heads]  # fmt: skip
    _name(ax.yaxis, names, len(names))
    if stack.title.lower() != label_of(view):
        bar.set_label(label_of(view), color=brush.faint, fontsize="small")
    brush.title(stack.title)


def _grid(brush: Brush, stack: Stack, layer: int, head: int, alone: bool) -> None:
    """All heads: layers down, heads across, each scaled to its own largest."""
    ax, rows, columns = brush.ax, len(stack.layers), len(stack.heads)
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    for row in range(rows):
        for column in range(columns):
            inset = ax.inset_axes((column + 0.03, row + 0.03, 0.94, 0.94), transform=ax.transData)
            _paint(brush, inset, _cells(stack, row, column), aspect="auto")
            inset.set(xticks=[], yticks=[])
            brush.plain(inset)
    ax.xaxis.tick_top()
    ax.set_xticks([i + 0.5 for i in range(columns)], [str(head) for head in stack.heads])
    ax.set_yticks([i + 0.5 for i in range(rows)], stack.layers, parse_math=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    brush.title(f"{stack.title}: all heads, each scaled to its own largest")


def _table(brush: Brush, stack: Stack, layer: int, head: int, alone: bool) -> None:
    """The four statistics, each a map of layers x heads with its numbers."""
    ax, statistics = brush.ax, stack.statistics()
    rows, columns = statistics.shape[:2]
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    each = 1 / len(STATISTICS)
    for which, name in enumerate(STATISTICS):
        row = each / (rows + 1.8)  # the rest is for names
        inset = ax.inset_axes((0, 1 - each * (which + 1) + 0.1 * row, 1, rows * row))
        cells = statistics[:, :, which]
        _paint(brush, inset, cells, aspect="auto")
        low, top = _range(cells)
        for (i, j), number in np.ndenumerate(cells):
            inset.text(j, i, f"{number:.2f}", ha="center", va="center", fontsize="x-small",
                       color=brush.text_on((number - low) / (top - low)))  # fmt: skip
        inset.set_xticks(range(columns), [str(head) for head in stack.heads])
        inset.set_yticks(range(rows), stack.layers, parse_math=False)
        inset.xaxis.tick_top()
        inset.set_title(name, loc="left", fontsize="small", color=brush.faint)
        brush.plain(inset)
    brush.title(f"{stack.title}: heads across")


_DRAWINGS: dict[str, Callable] = {
    "matrix": _matrix, "lines": _lines, "bars": _bars, "grid": _grid, "table": _table,
}  # fmt: skip


# --- Axes ---------------------------------------------------------------------------------------


def _is_dark(ax: Axes) -> bool:
    from matplotlib.colors import to_rgba

    red, green, blue, alpha = to_rgba(ax.get_facecolor())
    return alpha > 0 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.4


def _figure_size(stack: Stack, kind: str) -> tuple[float, float]:
    """Inches, so that cells and labels have room."""
    if kind == "grid":
        return 1.2 + 0.95 * len(stack.heads), 0.9 + 0.95 * len(stack.layers)
    if kind == "table":
        return max(4.8, 1.6 + 0.55 * len(stack.heads)), 0.6 + 4 * (0.55 + 0.3 * len(stack.layers))
    if kind == "bars":
        rows = 0.28 * stack.heads_in_all if stack.heads_in_all > 1 else 2.6
        return min(max(4.8, 0.28 * stack.keys + 1.6), 12), min(rows + 1.4, 14)
    if kind == "lines":
        return 4.8, min(max(2.4, 0.24 * max(stack.queries, stack.keys) + 0.6), 14)
    if not _is_squarish(stack):
        wide, high = (min(max(1, 0.28 * n), 9) for n in (stack.keys, stack.queries))
        return max(wide, 2.6) + 2.2, high + 1.6
    cell = min(max(0.28, 2.6 / max(stack.keys, stack.queries)), 9 / max(stack.keys, stack.queries))
    return cell * stack.keys + 2.2, cell * stack.queries + 1.6


def draw(stack: Stack, kind: str, view: str | None, ax: Axes | None, dark: bool | None) -> Axes:
    """Draws into axes, or into those of a new figure, and returns them. view: which bars. dark:
    None looks at the axes' colour. Of several heads, "matrix", "lines" and bars in given axes show
    the first."""
    alone = ax is None
    if alone:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        # A figure of its own: none of pyplot's, which would show it a second time.
        figure = Figure(_figure_size(stack, kind), layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
    brush = Brush(ax, _is_dark(ax) if dark is None else dark)
    if alone:
        ax.figure.set_facecolor(brush.paper)
        ax.set_facecolor(brush.paper)
    brush.plain(ax)
    options = {"view": view} if kind == "bars" else {}
    _DRAWINGS[kind](brush, stack, 0, 0, alone, **options)
    return ax
