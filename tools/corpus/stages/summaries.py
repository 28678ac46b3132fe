"""Long description and synopsis of packages, split by source package."""

import re
from collections import Counter

from . import descriptions
from .filter import mostly_letters, words
from .keys import key
from .split import Families, draw, too_near

MIN_WORDS, MAX_WORDS = 15, 400  # of a long description
MIN_SYNOPSIS, MAX_SYNOPSIS = 2, 20
MAX_FAMILY = 40  # packages; a larger family is for training
SHARES = {"dev": 0.03, "test": 0.03}
TRANSITIONAL = re.compile(r"\b(transitional|dummy)\b", re.I)


def sources(paths):
    """{package: source package} of Packages indexes."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                    found.setdefault(name, name)
                elif line.startswith("Source: "):
                    found[name] = line[8:].split()[0]
    return found


def text_of(blocks):
    """A long description on one line."""
    return " ".join(("- " if b.kind == "item" else "") + b.text for b in blocks)


def usable(text, synopsis):
    """Whether a description and its synopsis are worth learning from."""
    return (
        MIN_WORDS <= words(text) <= MAX_WORDS
        and MIN_SYNOPSIS <= words(synopsis) <= MAX_SYNOPSIS
        and mostly_letters(text)
        and not TRANSITIONAL.search(synopsis)
        and key(text) != key(synopsis)
    )


def rows(index, source_of):
    """Rows (text, synopsis, source package), each text once."""
    found = {}
    for name, lines in sorted(index.values()):
        synopsis, *blocks = descriptions.blocks(lines) or [None]
        if synopsis is None or synopsis.kind != "synopsis":
            continue
        text = text_of(blocks)
        if usable(text, synopsis.text):
            found.setdefault(key(text), (text, synopsis.text, source_of.get(name, name)))
    return list(found.values())


def split(table, shares=None):
    """{"train", "dev", "test": rows}, and how many were dropped as too near.

    Packages of one source stay together (-dev, -doc and -data repeat its text), and so do those of
    the same synopsis; what shares half of its sequences of four words with a text that may be
    trained or tuned on is dropped, as in split.split."""
    families = Families()
    for text, synopsis, source in table:
        families.join(["s " + source, "y " + key(synopsis), "t " + key(text)])
    roots = [families.find("s " + source) for _, _, source in table]
    sizes = Counter(roots)
    parts = {"train": [], "dev": [], "test": []}
    for row, root in zip(table, roots):
        large = sizes[root] > MAX_FAMILY
        parts["train" if large else draw(root, SHARES if shares is None else shares)].append(row)
    dropped, seen = Counter(), list(parts["train"])
    for name in ("dev", "test"):
        near = too_near(parts[name], seen, sides=(0,))
        dropped[f"too near, from {name}"] = len(near)
        parts[name] = [row for n, row in enumerate(parts[name]) if n not in near]
        seen += parts[name]
    return parts, dropped
