"""A part of a page that a program writes, between two marks."""

import re

from pairs import BadInput, write_lines

BEGIN = "<!-- figures: written by {}; do not edit -->"
END = "<!-- end of figures -->"


def replace(text, writer, content):
    """The text with what is between the marks of this writer replaced."""
    begin = BEGIN.format(writer)
    found = list(re.finditer(re.escape(begin) + r"\n.*?" + re.escape(END), text, re.DOTALL))
    if len(found) != 1:
        raise BadInput(f"expected the line {begin} once, and {END} after it")
    at = found[0]
    return text[: at.start()] + f"{begin}\n\n{content.strip()}\n\n{END}" + text[at.end() :]


def update(path, writer, content):
    """The same in a file."""
    text = path.read_text(encoding="utf-8")
    try:
        changed = replace(text, writer, content)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    write_lines(path, changed.rstrip("\n").split("\n"))
