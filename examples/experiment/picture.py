"""BLEU by the length of the source, as a picture: the counterpart of figure 2 of Bahdanau et al.
(2015)."""

import textwrap

import pairs

SEARCH = "beam 5"
# Okabe and Ito's colours, which people with any colour vision tell apart; marks differ too.
LOOKS = {
    "lstm-none": ("#D55E00", "s"),
    "lstm-dot": ("#E69F00", "^"),
    "lstm": ("#0072B2", "o"),
    "transformer": ("#009E73", "D"),
}
INK, FAINT = "#333333", "#8a8a8a"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": "#c8c8c8", "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y",
    "grid.color": "#e8e8e8", "grid.linewidth": 0.8, "axes.axisbelow": True, "svg.hashsalt": "attn",
    "xtick.major.size": 0, "ytick.major.size": 0,
}  # fmt: skip


def apart(heights, least):
    """Heights, in their order, moved as little as it takes to be `least` from each other:
    neighbours that are too near share a block, which is centred on its members' mean."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    blocks = []  # [members, centre]
    for i in order:
        blocks.append([[i], heights[i]])
        while len(blocks) > 1:
            (below, low), (above, high) = blocks[-2:]
            if high - low >= least * (len(below) + len(above)) / 2:
                break
            both = below + above
            blocks[-2:] = [[both, sum(heights[j] for j in both) / len(both)]]
    moved = list(heights)
    for members, centre in blocks:
        for k, i in enumerate(members):
            moved[i] = centre + (k - (len(members) - 1) / 2) * least
    return moved


def draw_panel(axes, results, panel, shown):
    entries = [e for e in panel["scores"] if e["search"] == SEARCH and e["bucket"] is not None]
    buckets = sorted({e["bucket"] for e in entries})
    for number, name in enumerate(results["models"]):
        found = [e for b in buckets for e in entries if e["bucket"] == b and e["model"] == name]
        colour, mark = LOOKS[name]
        # Side by side, so that no interval hides another.
        x = [shown.index(e["bucket"]) + 0.09 * (number - 1.5) for e in found]
        y = [e["bleu"] for e in found]
        reach = [[e["bleu"] - e["low"] for e in found], [e["high"] - e["bleu"] for e in found]]
        axes.errorbar(x, y, reach, color=colour, marker=mark, markersize=4.5, linewidth=1.6,
                      elinewidth=1, markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
    counts = {e["bucket"]: e["sentences"] for e in entries}
    axes.set_xticks(range(len(shown)))
    axes.set_xticklabels(
        f"{pairs.bucket_name(b)}\n{counts[b] if b in counts else '–'}" for b in shown
    )
    axes.set_xlim(-0.4, len(shown) - 0.6)
    title = textwrap.fill(panel["title"], 36)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    return entries, buckets


def label(axes, results, entries, last, shown, top):
    """Each line's name at its end, in its colour."""
    ends = {e["model"]: e["bleu"] for e in entries if e["bucket"] == last}
    names = [name for name in results["models"] if name in ends]
    heights = apart([ends[name] for name in names], 0.055 * top)
    for name, height in zip(names, heights):
        axes.annotate(
            results["models"][name]["title"], (shown.index(last) + 0.25, height),
            color=LOOKS[name][0], va="center", ha="left", fontweight="bold", fontsize=8.5,
            annotation_clip=False,
        )  # fmt: skip


def draw(results, path):
    """Writes path.svg and path.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [p for p in results["panels"] if any(e["bucket"] is not None for e in p["scores"])]
    if not panels:
        return
    with matplotlib.rc_context(STYLE):
        figure, grid = plt.subplots(
            1, len(panels), sharey=True, squeeze=False, figsize=(1.6 + 3.5 * len(panels), 3.9)
        )
        all_ = [e for p in panels for e in p["scores"] if e["search"] == SEARCH]
        top = max([1, *(e["high"] * 1.04 for e in all_ if e["bucket"] is not None)])
        for axes, panel in zip(grid[0], panels):
            shown = sorted({e["bucket"] for e in panel["scores"]} - {None})
            entries, buckets = draw_panel(axes, results, panel, shown)
            axes.set_ylim(0, top)
            axes.set_xlabel("words of the source, and how many sentences")
            if panel is panels[-1]:
                label(axes, results, entries, buckets[-1], shown, top)
        grid[0][0].set_ylabel("BLEU (beam 5, 95 % intervals)")
        figure.tight_layout(w_pad=2)
        figure.savefig(f"{path}.svg", metadata={"Date": None}, bbox_inches="tight")
        figure.savefig(f"{path}.png", dpi=150, bbox_inches="tight")
        plt.close(figure)
