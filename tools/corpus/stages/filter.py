"""Which pairs are kept, and which of those are clean."""

import re
from collections import Counter

from .keys import key

MIN_WORDS, MAX_WORDS = 3, 50
MIN_RATIO, MAX_RATIO = 0.45, 2.4  # French characters over English characters
MIN_LETTERS = 0.75  # of the characters that are not spaces

HAS_WORD = re.compile(r"\w")
NUMBER = re.compile(r"\d+(?:[.,]\d+| \d{3}\b)*")
# What programs fill in, and what is code or an address.
PLACEHOLDER = re.compile(
    r"%\d|%[-+ #0]*[\d.]*l?[sdiufgxXcpn](?![\w%])|%\(|%\w+%|\{\w*\}|\$[\w({]|\\[\w\\]|<[^<>]*>"
    r"|@\w+@|://|\w@\w|\w::\w|&\w+;|\w\(\)|[{}|=^~#]|\[\w+\]\(|(?<!\w)_|__|\.\.\.\S"
)
BEGINS = re.compile(r"[«“\"'‘(\[¿¡—– -]*[^\W_a-zß-öø-ÿœ]")
ENDS = re.compile(r"[.!?…](?: ?»|[\"'”’)\]])*$")

# Words that tell the two languages apart, to find what was never translated.
FRENCH_WORDS = frozenset(
    "le la les un une des du de et est pour dans que qui ne pas vous ce cette il sur avec ou sont "
    "au aux par plus votre être en à l d s n qu c je tu nous elle son sa ses".split()
)
ENGLISH_WORDS = frozenset(
    "the a an of and is for in that which not you this it on with or are to by your be as at from "
    "if has have can will was when i he she we they his her my".split()
)


def words(text):
    """How many words there are: what stands between spaces and has a letter or digit."""
    return sum(1 for word in text.split() if HAS_WORD.search(word))


def numbers(text):
    """The numbers of a text without their separators, with how often each occurs."""
    return Counter(re.sub(r"\D", "", number) for number in NUMBER.findall(text))


def numbers_agree(french, english):
    """Whether both have the same numbers: 1,000.5 and 1 000,5 are the same."""
    return numbers(french) == numbers(english)


def mostly_letters(text):
    """Whether the text is language rather than code, tables or rules."""
    solid = [character for character in text if not character.isspace()]
    return sum(c.isalpha() for c in solid) >= MIN_LETTERS * max(1, len(solid))


def each_in_its_language(french, english):
    """Whether neither side has more common words of the other language than of its own."""
    left, right = key(french).split(), key(english).split()
    return (
        left != right
        and sum(w in FRENCH_WORDS for w in left) >= sum(w in ENGLISH_WORDS for w in left)
        and sum(w in ENGLISH_WORDS for w in right) >= sum(w in FRENCH_WORDS for w in right)
    )


def fits(french, english):
    """Whether a pair is kept, but for its numbers."""
    return (
        MIN_WORDS <= words(french) <= MAX_WORDS
        and MIN_WORDS <= words(english) <= MAX_WORDS
        and MIN_RATIO <= len(french) / len(english) <= MAX_RATIO
        and mostly_letters(french)
        and mostly_letters(english)
        and each_in_its_language(french, english)
    )


def is_sentence(text):
    """Whether the text is a full sentence without placeholders."""
    return bool(BEGINS.match(text) and ENDS.search(text)) and not PLACEHOLDER.search(text)


def is_clean(french, english):
    """Whether a pair that is kept is clean: two full sentences, without placeholders."""
    return is_sentence(french) and is_sentence(english)


def filtered(pairs, count):
    """Yields (French, English, "1" if clean or "0"), and counts in `count` (a Counter)."""
    for french, english in pairs:
        count["aligned"] += 1
        if not fits(french, english):
            continue
        count["fitting"] += 1
        if not numbers_agree(french, english):
            continue
        count["numbers agree"] += 1
        yield french, english, "1" if is_clean(french, english) else "0"
