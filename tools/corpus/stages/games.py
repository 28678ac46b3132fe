"""Texts of games: their catalogues, and the descriptions of Dungeon Crawl by key."""

import re
from pathlib import Path

from . import catalogues
from .document import Block, Document, tidy
from .files import read_text

CODE = re.compile(r"\{\{.*?\}\}", re.S)  # Lua, between the paragraphs


def entries(text):
    """{key: paragraphs} of a file of Dungeon Crawl: "%%%%", a key, an empty line, the text."""
    found = {}
    for entry in re.split(r"^%%%%.*$", text, flags=re.M)[1:]:
        lines = [line for line in entry.split("\n") if not line.startswith("#")]
        key, _, body = "\n".join(lines).strip().partition("\n")
        parts = (tidy(part) for part in re.split(r"\n\s*\n", CODE.sub("", body)))
        found[key.strip()] = [Block("text", part) for part in parts if part]
    return found


def extract(unpacked):
    """Documents of all catalogues, and one for each key that both languages have."""
    yield from catalogues.extract(unpacked)
    for french in sorted(Path(unpacked).glob("*/usr/share/crawl/dat/descript/fr/*.txt")):
        english = french.parent.parent / french.name
        if not english.is_file():
            continue
        left, right = entries(read_text(french)), entries(read_text(english))
        for key in left:
            if left[key] and right.get(key):
                yield Document(f"{french.name} {key}", left[key], right[key])
