"""The parts of examples/summaries against cases worked out by hand."""

import baselines
import numpy as np
import pytest
import scores
import summaries
from pairs import BadInput


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("One thing. Another.", "One thing."),
        ("Reads files (e.g. Ogg files) and plays them. It is small.",
         "Reads files (e.g. Ogg files) and plays them."),
        ("Version 3.5 of foo. bar is in it. More.", "Version 3.5 of foo. bar is in it."),
        ("Is it fast? Yes.", "Is it fast?"),
        ('He said "no." Then he left.', 'He said "no."'),
        ("A library in C. It works.", "A library in C."),
        ("No end of it", "No end of it"),
        ("See foo.bar. 3 modules are there.", "See foo.bar."),
        ("", ""),
    ],
)  # fmt: skip
def test_first_sentence(text, sentence):
    assert baselines.first_sentence(text) == sentence


def test_first_words():
    assert baselines.first_words("a  b c d", 3) == "a b c"
    assert baselines.first_words("a b", 3) == "a b"


def test_typical_length_is_the_median():
    assert baselines.typical_length(["a", "a b c", "a b c d e f g h i"]) == 3


def test_words_that_the_description_has():
    assert baselines.found_in("Fast XML-parser", "A parser of xml files") == (2, 3)
    assert baselines.found_in("", "text") == (0, 0)


def test_means_have_intervals_of_their_own():
    # As test_experiment's bootstrap by hand: six values, half of them 0, give 1/6 to 5/6 of 60.
    rows = [[0, 7], [60, 7]] * 3
    first, second = summaries.mean_scores(rows, scores.weights(6, 10000))
    assert first == pytest.approx({"score": 30, "low": 10, "high": 50})
    assert second == pytest.approx({"score": 7, "low": 7, "high": 7})


def test_rouge_by_hand():
    pytest.importorskip("rouge_score")
    # 2 of 3 words are in the reference's 4: P 2/3, R 1/2, F 4/7; one of 2 bigrams in 3: F 2/5.
    found = summaries.rouge(["the fast parser"], ["the fast xml reader"])
    assert found == pytest.approx(np.array([[400 / 7, 40, 400 / 7]]))


def test_a_model_that_cannot_copy_is_refused():
    summaries.check_copying({"plain": {"parameters": 5}, "copy": {"parameters": 6}})
    summaries.check_copying({"copy": {"parameters": 6}})
    with pytest.raises(BadInput):
        summaries.check_copying({"plain": {"parameters": 5}, "copy": {"parameters": 5}})


def test_examples_stay_text():
    assert summaries.plain_text("a <b> | `c` & *d*") == r"a &lt;b> \| \`c\` &amp; \*d\*"
