"""From documents to pairs of sentences: paragraphs by kind and length, then sentences by length."""

from .gale_church import ONE_TO_ONE, align
from .sentences import split

BAND = 40  # paragraphs: how far those of a long document may be shifted against each other
UNLIKELY = 3.0  # a paragraph so many times as long as its counterpart is not its translation
SHORT = 40  # characters; below it such a ratio says nothing


def paragraphs(document):
    """Yields (French, English) texts of blocks that belong together.

    Nearly all pairs of documents have the same sequence of kinds of blocks, which settles it.
    Otherwise blocks of the same kind are aligned one to one by length."""
    french, english = document.french, document.english
    if [block.kind for block in french] == [block.kind for block in english]:
        yield from ((f.text, e.text) for f, e in zip(french, english))
        return
    beads = align(
        [len(block.text) for block in french],
        [len(block.text) for block in english],
        priors=ONE_TO_ONE,
        may_match=lambda i, j: french[i].kind == english[j].kind,
        band=BAND,
        long_gaps=True,
    )
    for i, i_end, j, j_end in beads:
        if i_end - i == j_end - j == 1:
            yield french[i].text, english[j].text


def likely(french, english):
    """Whether a paragraph may be a translation of the other, by their lengths alone."""
    longer, shorter = max(len(french), len(english)), min(len(french), len(english))
    return longer < SHORT or longer <= UNLIKELY * shorter


def sentences(french, english, ratio=1.0):
    """Yields (French, English) sentences of a paragraph; those without a counterpart are lost.

    `ratio` is the length of French over that of English."""
    left, right = split(french), split(english)
    if len(left) == len(right) == 1:
        yield left[0], right[0]
        return
    beads = align([len(text) for text in right], [len(text) for text in left], ratio)
    for j, j_end, i, i_end in beads:
        if i_end > i and j_end > j:
            yield " ".join(left[i:i_end]), " ".join(right[j:j_end])


def pairs(documents):
    """Yields (French, English) sentences of documents."""
    found = [pair for document in documents for pair in paragraphs(document) if likely(*pair)]
    # c of the paper, measured on the very text: French over English, in characters.
    ratio = sum(len(f) for f, _ in found) / max(1, sum(len(e) for _, e in found)) or 1.0
    for french, english in found:
        yield from sentences(french, english, ratio)
