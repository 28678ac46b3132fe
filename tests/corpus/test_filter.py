"""What is kept, what is clean, and by what sentences are compared."""

from collections import Counter

import pytest
from stages import filter as keep
from stages.keys import grams, key, pattern

FRENCH, ENGLISH = "Le fichier est ouvert dans la fenêtre.", "The file is open in the window."


def test_a_sentence_and_its_translation_fit_and_are_clean():
    assert keep.fits(FRENCH, ENGLISH) and keep.is_clean(FRENCH, ENGLISH)


@pytest.mark.parametrize(
    "french, english",
    [
        ("Le fichier.", "The open file."),  # two words
        ("le " * 51, "the " * 50),  # 51 words
        ("Le fichier est ici.", "The file is here, and so is everything else that you had saved."),
        ("a = b + c; d | e && f", "a = b + c; d | e && f or"),  # not language
        ("The file is open in it.", "The file is open in the window."),  # not translated
        ("Le fichier est ouvert.", "Le fichier est là pour vous."),
        (ENGLISH, ENGLISH),
    ],
)
def test_what_does_not_fit(french, english):
    assert not keep.fits(french, english)


def test_the_limits_themselves_fit():
    assert keep.fits("Le fichier ici.", "The file here.")
    assert keep.fits("le un " * 25, "the a " * 25)
    # 9 of 20 characters is the least ratio, 24 of 10 the most.
    assert keep.fits("le un a b", "the and that this of")
    assert not keep.fits("le un a", "the and that this of")
    assert keep.fits("le la les des dans que x", "the and of")
    assert not keep.fits("le la les des dans que xy", "the and of")


@pytest.mark.parametrize(
    "french, english, agree",
    [
        ("1 000,5 et 2", "1,000.5 and 2", True),
        ("en 2023, 4 fois", "4 times in 2023", True),
        ("3 fois", "4 times", False),
        ("2 et 2", "2", False),
        ("trois", "3", False),
        ("12 345 678 octets", "12,345,678 bytes", True),
        ("rien", "nothing", True),
    ],
)
def test_numbers(french, english, agree):
    assert keep.numbers_agree(french, english) is agree


@pytest.mark.parametrize(
    "text",
    ["It is.", "« Oui ! »", "(As it was.)", '"So?"', "É…", "3 files were found.", "It is 5 %."],
)
def test_sentences(text):
    assert keep.is_sentence(text)


@pytest.mark.parametrize(
    "text",
    [
        "no capital.", "No end", "List:", "Open %s.", "Open %1.", "Use {name}.", "Go to $HOME now.",
        "A <tag> here.", "See https://example.org now.", "Call main() first.", "Use a\\nb.",
        "Press __here__.", "Write to a@b.example.", "x = y.", "A & B&eacute; here.",
        "Free %d files.",
    ],
)  # fmt: skip
def test_no_sentences(text):
    assert not keep.is_sentence(text)


def test_filtering_counts_what_it_drops():
    rows = [(FRENCH, ENGLISH), ("oui", "yes"), ("Il y a 3 fichiers.", "There are 4 files."),
            ("le fichier est ouvert", "the file is open")]  # fmt: skip
    count = Counter()
    assert list(keep.filtered(rows, count)) == [
        (FRENCH, ENGLISH, "1"),
        ("le fichier est ouvert", "the file is open", "0"),
    ]
    assert count == {"aligned": 4, "fitting": 3, "numbers agree": 2}


def test_keys_ignore_case_and_punctuation():
    assert key("« L’ÉTÉ, c'est_là… »") == key("l été c est là") == "l été c est là"
    assert key("e\u0301te\u0301") == key("été")


def test_the_pattern_of_boilerplate():
    french = key("Ce paquet contient les fichiers de libfoo 2.")
    english = key("This package contains files of libfoo 2.")
    assert pattern(french, english) == "ce paquet contient les fichiers de #"
    assert pattern(english, french) == "this package contains files of #"
    assert pattern("le foo 3 bar est ici", "the foo 3 bar is here") is None  # three fixed words


def test_sequences_of_four_words():
    assert grams("a b c d e") == {"a b c d", "b c d e"}
    assert grams("a b c") == set()
