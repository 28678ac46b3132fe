"""Sentences, and their alignment by length beside hand-worked cases and beside every other path."""

import math
import random
from statistics import NormalDist

import pytest
from stages import align, gale_church
from stages.document import Block, Document
from stages.sentences import split


@pytest.mark.parametrize(
    "text, expected",
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("Vraiment ? Oui ! Bien.", ["Vraiment ?", "Oui !", "Bien."]),
        ("Il dit « Non. » Puis il part.", ["Il dit « Non. »", "Puis il part."]),
        ('He said "No." Then (so.) He left.', ['He said "No."', "Then (so.)", "He left."]),
        ("Use e.g. Python. See M. Dupont.", ["Use e.g. Python.", "See M. Dupont."]),
        (
            "See fig. 3 and p. 12. I say no. So it is.",
            ["See fig. 3 and p. 12.", "I say no.", "So it is."],
        ),
        ("By J. R. Smith. In the U.S. Army.", ["By J. R. Smith.", "In the U.S. Army."]),
        ("Version 2.5 is out. it is.", ["Version 2.5 is out. it is."]),
        ("Écrit. Également lu. 3 fois.", ["Écrit.", "Également lu.", "3 fois."]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert split(text) == expected


def test_sentences_together_are_the_paragraph():
    random_ = random.Random(1)
    for _ in range(500):
        text = " ".join(
            random_.choices(["A.", "b", "C?", "«", "»", "e.g.", "M.", "4.", "d!"], k=12)
        )
        assert " ".join(split(text)) == text


# Lengths whose mean is 170 have a variance of 6.8 * 170 = 34^2, so that a difference of 34
# characters is a delta of 1, and one of 68 is 2. The probabilities are those of tables.
@pytest.mark.parametrize(
    "left, right, probability",
    [(170, 170, 1.0), (153, 187, 0.317311), (187, 153, 0.317311), (136, 204, 0.045500)],
)
def test_the_probability_of_a_difference(left, right, probability):
    # The tables have six decimals.
    assert math.exp(gale_church.log_match(left, right)) == pytest.approx(probability, abs=5e-7)


def test_the_ratio_of_the_languages_is_in_the_mean_and_in_the_difference():
    # 100 characters are expected to become 150; 100 to 184 has the mean (100 + 184 / 1.5) / 2.
    assert gale_church.log_match(100, 150, 1.5) == 0.0
    delta = 34 / math.sqrt(6.8 * (100 + 184 / 1.5) / 2)
    expected = 2 * (1 - NormalDist().cdf(delta))
    # 1 - cdf loses the digits before it: 2 * 2^-53 of a difference of about 0.1.
    assert math.exp(gale_church.log_match(100, 184, 1.5)) == pytest.approx(expected, rel=1e-13)


def test_the_probability_of_what_is_all_but_impossible():
    # For x > 0, erfc(x) lies between e (1 - 1 / (2 x^2)) and e, with e = exp(-x^2) / (x sqrt pi).
    for right in (2000, 5000, 10**6):
        found = gale_church.log_match(10, right)
        x = (right - 10) / math.sqrt(6.8 * (10 + right) / 2) / math.sqrt(2)
        most = -x * x - math.log(x * math.sqrt(math.pi))
        # The three terms are at most 4e5 and rounded a few times: within 1e-9.
        assert most + math.log1p(-1 / (2 * x * x)) - 1e-9 <= found <= most + 1e-9
    fall = [gale_church.log_match(100, 100 + step) for step in range(3000)]
    assert all(after < before for before, after in zip(fall, fall[1:]))
    assert gale_church.log_match(0, 0) == 0.0


def test_two_sentences_that_became_one():
    # 2-1: -log 0.089 = 2.42. The next best, 1-1 and 1-0: delta is 100 / sqrt(6.8 * 150) = 3.13 and
    # 100 / sqrt(6.8 * 50) = 5.42, so the cost is 6.35 + 0.12 + 16.65 + 4.62 = 27.7.
    assert gale_church.align([100, 100], [200]) == [(0, 2, 0, 1)]
    assert gale_church.align([200], [100, 100]) == [(0, 1, 0, 2)]


def test_a_sentence_without_a_counterpart():
    # By 1-1, 0-1, 1-1 the 60 costs -log 0.0099 = 4.62 and, with delta = 60 / sqrt(6.8 * 30) = 4.20,
    # P = 2.7e-5, another 10.53; with two pairs at 0.12, 15.4. Joined to the 200 it costs 2.42 and,
    # with delta = 60 / sqrt(6.8 * 230) = 1.52, P = 0.13, another 2.05; with one pair at 0.12, 4.6.
    assert gale_church.align([200, 50], [200, 60, 50]) == [(0, 1, 0, 2), (1, 2, 2, 3)]
    # Where joining is not allowed, the shorter 50 is left over rather than the 60: 4.62 and 8.97
    # (delta = 50 / sqrt(6.8 * 25) = 3.83, P = 1.3e-4), the 50 beside the 60 another 0.12 + 0.51
    # (delta = 10 / sqrt(6.8 * 55) = 0.52, P = 0.60), the pair of 200 another 0.12; 14.3 against 15.4.
    alone = gale_church.align([200, 50], [200, 60, 50], priors=gale_church.ONE_TO_ONE)
    assert alone == [(0, 1, 0, 1), (1, 2, 1, 2), (2, 2, 2, 3)]


def test_gaps_that_cost_the_same_whatever_their_length():
    # The 300 as a gap: 4.62 and nothing for its length, two pairs at 0.12: 4.86. Paired with the
    # 50: delta = 250 / sqrt(6.8 * 175) = 7.2, over 25, and the 50 is left over as well.
    beads = gale_church.align(
        [200, 50], [200, 300, 50], priors=gale_church.ONE_TO_ONE, long_gaps=True
    )
    assert beads == [(0, 1, 0, 1), (1, 1, 1, 2), (1, 2, 2, 3)]


def test_equal_lists_are_paired_one_to_one():
    lengths = [20, 80, 35, 120, 60]
    assert gale_church.align(lengths, lengths) == [(i, i + 1, i, i + 1) for i in range(5)]
    assert gale_church.align([], []) == []
    assert gale_church.align([], [5]) == [(0, 0, 0, 1)]


# Table 5 of the paper, as its program charges it.
TABLE = {(1, 1): 0.89, (1, 0): 0.0099, (0, 1): 0.0099, (2, 1): 0.089, (1, 2): 0.089, (2, 2): 0.011}


def cost(left, right, beads):
    """The cost of a path, from the definition: P(delta | match) by the normal distribution."""
    total = 0.0
    for i, i_end, j, j_end in beads:
        a, b = sum(left[i:i_end]), sum(right[j:j_end])
        delta = (b - a) / math.sqrt(6.8 * (a + b) / 2)
        total -= math.log(2 * NormalDist().cdf(-abs(delta)))
        total -= math.log(TABLE[i_end - i, j_end - j])
    return total


def every_path(rows, columns):
    """All sequences of beads from the beginning to (rows, columns)."""
    if rows == columns == 0:
        yield []
    for a, b in TABLE:
        if a <= rows and b <= columns:
            for path in every_path(rows - a, columns - b):
                yield [*path, (rows - a, rows, columns - b, columns)]


def test_no_path_is_cheaper_than_the_one_found():
    assert gale_church.PRIORS == TABLE
    random_ = random.Random(2)
    for _ in range(60):
        # A bead has at most 120 characters on a side and none on the other: delta is below
        # 120 / sqrt(6.8 * 60) = 5.95. NormalDist.cdf is (1 + erf) / 2, rounded to 2^-53, and
        # at least 1.3e-9 here: 8.3e-8 of itself at most, and a path has at most 8 beads.
        left = [random_.randint(20, 60) for _ in range(random_.randint(0, 4))]
        right = [random_.randint(20, 60) for _ in range(random_.randint(0, 4))]
        found = gale_church.align(left, right)
        assert [bead[0] for bead in found[1:]] == [bead[1] for bead in found[:-1]]
        cheapest = min(cost(left, right, path) for path in every_path(len(left), len(right)))
        assert cost(left, right, found) <= cheapest + 2 * 8 * 8.3e-8


def test_a_band_that_is_wide_enough_changes_nothing():
    random_ = random.Random(3)
    for _ in range(20):
        left = [random_.randint(20, 90) for _ in range(12)]
        right = [random_.randint(20, 90) for _ in range(14)]
        whole = gale_church.align(left, right)
        assert gale_church.align(left, right, band=12) == whole
        assert gale_church.align(left, right, band=0)[-1][1::2] == (12, 14)


# Paragraphs


def blocks(*pairs):
    return [Block(*pair) for pair in pairs]


def test_paragraphs_of_the_same_kinds_are_paired_in_order():
    document = Document("", blocks(("p", "a"), ("li", "b")), blocks(("p", "x" * 90), ("li", "y")))
    assert list(align.paragraphs(document)) == [("a", "x" * 90), ("b", "y")]


def test_a_paragraph_too_many_shifts_nothing():
    english = [("h1", "Title"), *(("p", "word " * n) for n in (10, 20, 5, 30)), ("li", "item")]
    french = english[:2] + [("note", "Note du traducteur."), ("p", "autre " * 60)] + english[2:]
    found = list(align.paragraphs(Document("", blocks(*french), blocks(*english))))
    assert found == [(text, text) for _, text in english]


def test_a_pair_is_never_of_two_kinds():
    document = Document("", blocks(("p", "same"), ("li", "x")), blocks(("h1", "same")))
    assert list(align.paragraphs(document)) == []


def test_sentences_of_a_document():
    french = "Première phrase. La deuxième phrase est ici, et elle va plus loin. La fin."
    english = "First sentence. The second sentence is here. It goes further. The end."
    found = list(align.pairs([Document("", blocks(("p", french)), blocks(("p", english)))]))
    assert found == [
        ("Première phrase.", "First sentence."),
        (
            "La deuxième phrase est ici, et elle va plus loin.",
            "The second sentence is here. It goes further.",
        ),
        ("La fin.", "The end."),
    ]


def test_a_paragraph_three_times_too_long_is_no_translation():
    assert align.likely("a" * 39, "b")
    assert align.likely("a" * 120, "b" * 40)
    assert not align.likely("a" * 121, "b" * 40)
