"""What a summary has to beat: the beginning of the text; and what words summaries are made of."""

import re

# A full stop after these ends no sentence.
SHORT = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|cf|etc|vs|resp|incl|approx|no|dr|mr|mrs|st)\.$", re.I)
END = re.compile(r"[.!?][\"')\]]*(?=\s)")
WORD = re.compile(r"[a-z0-9]+")


def first_sentence(text):
    """Up to the first full stop, exclamation or question mark that a blank and no small letter
    follows, and that ends no abbreviation; the whole text if there is none."""
    for found in END.finditer(text):
        rest = text[found.end() :].lstrip()
        if rest and not rest[0].islower() and not SHORT.search(text[: found.start() + 1]):
            return text[: found.end()]
    return text


def first_words(text, count):
    return " ".join(text.split()[:count])


def typical_length(summaries):
    """The median number of words."""
    counts = sorted(len(summary.split()) for summary in summaries)
    return counts[len(counts) // 2]


def found_in(summary, text):
    """(how many of the summary's words are in the text, how many it has); words as ROUGE has
    them."""
    there = set(WORD.findall(text.lower()))
    said = WORD.findall(summary.lower())
    return sum(word in there for word in said), len(said)
