"""Sentences of a paragraph, in French or English."""

import re

# An end mark, what closes after it, a space; a capital or a digit follows, after what opens.
# French sets a space before » ? and !, and after «.
END = re.compile(r"(?P<mark>[.!?…]+)(?: ?»|[\"'”’)\]])*\s+(?=(?:« ?|[\"'“‘(\[¿¡])*[A-ZÀ-ÖØ-ÞŒ0-9])")
# What a full stop after it does not end. Compared without case.
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st vs cf viz approx e.g i.e p.ex ex "
    "m mm mme mlle mgr al resp jr sr env".split()
)
# The same, if a number follows.
BEFORE_NUMBERS = frozenset("no nos nr num n° p pp fig figs sec sect chap vol ed art ca".split())
INITIAL = re.compile(r"(?:\b[A-Z]\.)*\b[A-Z]")


def _is_abbreviation(text, end):
    """Whether the full stop that `end` matched belongs to the word before it."""
    words = text[: end.start()].split()
    word = words[-1].lstrip("([«“\"'‘") if words else ""
    if text[end.end("mark") : end.end()].strip():
        return False  # a quotation that ends, ends with a sentence
    if word.casefold() in BEFORE_NUMBERS:
        return text[end.end() :][:1].isdigit()
    return word.casefold() in ABBREVIATIONS or INITIAL.fullmatch(word) is not None


def split(text):
    """The sentences of a paragraph, in order; together they are the paragraph."""
    found, start = [], 0
    for end in END.finditer(text):
        if end["mark"] == "." and _is_abbreviation(text, end):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    rest = text[start:].strip()
    return found + [rest] if rest else found
