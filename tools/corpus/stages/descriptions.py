"""Package descriptions in two languages, from apt's Translation indexes."""

import re
from pathlib import Path

from .document import Block, Document, tidy


def stanzas(lines):
    """Yields (package, md5 of the English description, description's lines) of an index."""
    name = md5 = None
    text, inside = [], False
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if name and md5 and text:
                yield name, md5, text
            name = md5 = None
            text, inside = [], False
        elif line[0] in " \t":
            if inside:
                text.append(line[1:])
        else:
            field, _, value = line.partition(":")
            inside = re.fullmatch(r"Description-[a-z]{2}(_[A-Z]{2})?", field) is not None
            if inside:
                text.append(value.strip())
            elif field == "Package":
                name = value.strip()
            elif field == "Description-md5":
                md5 = value.strip()
    if name and md5 and text:
        yield name, md5, text


ITEM = re.compile(r"\s*([-*+•o–—−‒]|\d+[.)])\s+(?=\S)")
# Translators write spaces that do not break as U+22C5, and hyphens that do not as U+2011.
VISIBLE = str.maketrans({"⋅": " ", "‑": "-"})


def blocks(text):
    """The synopsis, and the paragraphs and items of a long description.

    A line " ." ends a paragraph; a line that begins with a mark is an item of a list, and lines
    that are indented go on with it."""
    text = [line.translate(VISIBLE) for line in text]
    found = [["synopsis", text[0]]] if text[0].strip() else []
    open_block = False
    for line in text[1:]:
        item = ITEM.match(line)
        if line.strip() in (".", ""):
            open_block = False
        elif item:
            found.append(["item", line[item.end() :]])
            open_block = True
        elif open_block and not (line[0] == " " and found[-1][0] == "text"):
            found[-1][1] += " " + line
        else:
            found.append(["verbatim" if line[0] == " " else "text", line])
            open_block = line[0] != " "
    return [Block(kind, tidy(block)) for kind, block in found if tidy(block)]


def read_index(paths):
    """{md5: (package, lines)} of indexes; the first package of a description names it."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for name, md5, text in stanzas(lines):
                found.setdefault(md5, (name, text))
    return found


def extract(french_indexes, english_indexes):
    """One document for each description that both languages have."""
    english = read_index(english_indexes)
    french = read_index(french_indexes)
    for md5 in sorted(french, key=lambda md5: (french[md5][0], md5)):
        name, text = french[md5]
        if md5 in english:
            yield Document(name, blocks(text), blocks(english[md5][1]))


def indexes(folder, language):
    """The Translation indexes of a language in apt's folder of lists, the largest first."""
    found = Path(folder).glob(f"*_i18n_Translation-{language}")
    return sorted(found, key=lambda path: (-path.stat().st_size, path.name))
