"""What sentences are compared by."""

import re
import unicodedata

WORD = re.compile(r"\w+")
VARIABLE = "#"  # stands for numbers and names in a pattern
MIN_FIXED = 4  # a pattern with fewer fixed words says nothing
GRAM = 4  # words


def key(text):
    """The text without case and punctuation: its words, a space between."""
    return " ".join(WORD.findall(unicodedata.normalize("NFC", text).casefold().replace("_", " ")))


def pattern(own, other):
    """The pattern of boilerplate that a key belongs to, or None.

    "Ce paquet contient les fichiers de libfoo2" becomes "ce paquet contient les fichiers de #":
    words that the other side has too (names are not translated), and words with a digit, are
    variable; neighbours among them count as one."""
    shared = set(other.split())
    found = []
    for word in own.split():
        if word in shared or any(c.isdigit() for c in word):
            if not found or found[-1] != VARIABLE:
                found.append(VARIABLE)
        else:
            found.append(word)
    fixed = sum(word != VARIABLE for word in found)
    return " ".join(found) if fixed >= MIN_FIXED else None


def grams(text_key):
    """The set of sequences of four words of a key."""
    parts = text_key.split()
    return {" ".join(parts[i : i + GRAM]) for i in range(len(parts) - GRAM + 1)}
