"""What extractors hand on: documents of blocks in both languages."""

import gzip
import json
import re
from typing import NamedTuple

from .files import CorpusError, writing


class Block(NamedTuple):
    """A paragraph, an item or a heading. Only blocks of one kind are ever paired."""

    kind: str
    text: str


class Document(NamedTuple):
    """One text in two languages."""

    name: str
    french: list
    english: list


# Spaces that do not break, thin and typographic ones, as well as line ends, are one space.
SPACES = re.compile(r"[\s\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff\ufffc\x00-\x08\x0e-\x1f]")


def tidy(text):
    """The text on one line, with single plain spaces and without invisible characters."""
    return SPACES.sub(" ", INVISIBLE.sub("", text)).strip()


def write_documents(path, documents):
    """One document a line, as JSON; returns how many there were."""
    count = 0
    with writing(path) as out:
        for document in documents:
            out.write(json.dumps(document, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_documents(path):
    """Yields the documents of such a file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                name, french, english = json.loads(line)
                yield Document(name, [Block(*b) for b in french], [Block(*b) for b in english])
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); delete it to make it again") from None
