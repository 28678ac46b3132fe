"""What was measured, as tables and a picture."""

import shutil
from pathlib import Path

import block
import pairs
import picture
import sizes

ROOT = Path(__file__).resolve().parents[2]
LEAST = 20  # sentences in a range of lengths; of fewer, a score says nothing
WRITER = "examples/experiment/run --publish"


def table(head, rows):
    """A table in Markdown; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def find(entries, **wanted):
    """The entry with these values, or None."""
    for entry in entries:
        if all(entry[name] == value for name, value in wanted.items()):
            return entry
    return None


def models_table(results):
    rows = []
    for model in results["models"].values():
        fields = ", ".join(f"{k} {v}" for k, v in model["fields"].items()).replace("_", " ")
        rows.append([model["title"], f"{model['parameters']:,}".replace(",", " "), fields,
                     f"{model['seconds'] / 60:.0f}"])  # fmt: skip
    apart = sizes.spread([m["parameters"] for m in results["models"].values()])
    return (
        table(["model", "parameters", "fields", "minutes of training"], rows)
        + f"\n\nThe largest has {apart:.1%} more parameters than the smallest."
    )


def columns(entries):
    """The buckets that were scored, the whole last."""
    found = {entry["bucket"] for entry in entries}
    return sorted(found - {None}) + [None]


def panel_tables(results, panel):
    """BLEU by length of each search, and what attention adds to it."""
    entries, parts = panel["scores"], [f"### {panel['title']}"]
    if not entries:
        return parts + [f"{panel['sentences']} sentences: fewer than {LEAST} in each range."]
    buckets = columns(entries)
    names = ["all" if b is None else pairs.bucket_name(b) for b in buckets]
    counts = [str(find(entries, bucket=b)["sentences"]) for b in buckets]
    for search in dict.fromkeys(entry["search"] for entry in entries):
        rows, gains = [["sentences", *counts]], []
        for name, model in results["models"].items():
            found = [find(entries, bucket=b, model=name, search=search) for b in buckets]
            rows.append([model["title"], *(cell(e, "bleu", "low", "high") for e in found)])
            if "gain" in found[0]:
                gains.append(
                    [
                        model["title"],
                        *(cell(e, "gain", "gain_low", "gain_high", "+") for e in found),
                    ]
                )
        parts.append(f"BLEU, {search}, by words of the source:")
        parts.append(table(["", *names], rows))
        parts.append(f"BLEU beyond the LSTM without attention, {search}:")
        parts.append(table(["", *names], gains))
    return parts


def cell(entry, value, low, high, sign=""):
    """ "38.1 (36.9 to 39.4)", with minus signs that are as wide as a plus."""
    one, two, three = (f"{entry[name]:{sign}.1f}" for name in (value, low, high))
    return f"{one} ({two} to {three})".replace("-", "−")


def settings_text(results):
    s = results["settings"]
    data = ", ".join(f"`{name}` (SHA-256 {start}…)" for name, start in s["data"].items())
    return (
        f"{results['attn']}; {'`--small`; ' if s['small'] else ''}{results['pairs']} pairs of "
        f"{data}; {s['vocabulary']} subwords, {s['steps']} steps of {s['tokens']} subwords, rate "
        f"{s['rate']:g}, seed {s['seed']}. In brackets: 95 % of 1000 bootstrap resamples."
    )


def markdown(results):
    parts = [settings_text(results), models_table(results)]
    for panel in results["panels"]:
        parts += panel_tables(results, panel)
    return "\n\n".join(parts) + "\n"


def write(results, folder, publish):
    """Tables and picture into the folder and, if wanted, into the tree's own page."""
    text = markdown(results)
    pairs.write_lines(folder / "tables.md", text.rstrip("\n").split("\n"))
    picture.draw(results, folder / "picture")
    print(f"{folder}/results.json, tables.md, picture.svg, picture.png")
    if not publish:
        return
    pictures = ROOT / "docs" / "pictures"
    for ending in ("svg", "png"):
        shutil.copyfile(folder / f"picture.{ending}", pictures / f"experiment.{ending}")
    shown = "![BLEU by the length of the source](pictures/experiment.svg)\n\n"
    block.update(ROOT / "docs" / "EXPERIMENT.md", WRITER, shown + text)
