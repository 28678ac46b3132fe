"""Sentence pairs of Tatoeba in the form of manythings.org/anki: English, tab, French, attribution."""

from .document import tidy
from .files import CorpusError
from .filter import MAX_WORDS, words
from .keys import key


def rows(path):
    """Rows (French, English, "1") of a file, with what repeats others."""
    try:
        with open(path, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                columns = line.rstrip("\r\n").split("\t")
                if len(columns) not in (2, 3):
                    raise CorpusError(
                        f"{path}, line {number}: {len(columns)} columns, expected English, tab, "
                        "French and perhaps tab, attribution"
                    )
                english, french = tidy(columns[0]), tidy(columns[1])
                if not key(english) or not key(french):
                    raise CorpusError(f"{path}, line {number}: a sentence without words")
                if max(words(english), words(french)) <= MAX_WORDS:
                    yield french, english, "1"
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
