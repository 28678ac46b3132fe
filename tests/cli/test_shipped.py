"""The model that the repository brings: found from any folder, and what it says of plain sentences."""

import json
import os

import pytest

# Sentences that every instruction set agrees on: their second best translations are far behind.
PLAIN = {
    "Je ne sais pas où il est.": "I don't know where he is.",
    "Elle a perdu ses clés.": "She lost her keys.",
    "Tom est très fatigué.": "Tom is very tired.",
}


@pytest.fixture
def shipped(attn):
    if not os.path.exists(os.path.join(os.path.dirname(attn.binary), "share", "attn", "fr-en.safetensors")):
        pytest.skip("the build has no model: models/ is empty")

    def run(*arguments, **options):
        done = attn("translate", *arguments, **options)
        if "has no SentencePiece" in done.stderr:
            pytest.skip("this build has no SentencePiece")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_plain_sentences(shipped):
    assert shipped(*PLAIN).splitlines() == list(PLAIN.values())


def test_the_lstm_is_there_by_its_name(shipped, refuses):
    """A name is one of share/attn where there is no file of that name."""
    assert shipped("--model", "fr-en-lstm", *PLAIN).splitlines() == list(PLAIN.values())
    assert shipped("--model", "fr-en", *PLAIN) == shipped(*PLAIN)
    refuses("fr-en-gru: ", "translate", "--model", "fr-en-gru", "Oui.")
    open("fr-en-lstm", "w").write("no model")
    refuses("fr-en-lstm: ", "translate", "--model", "fr-en-lstm", "Oui.")


def test_words_look_at_their_sources(shipped):
    told = json.loads(shipped("--json", "Le chat noir dort."))
    best = told["translations"][0]
    assert best["text"] == "The black cat is sleeping."
    # le-the, chat-cat, noir-black
    assert {(0, 0), (1, 2), (2, 1)} <= {tuple(link) for link in best["links"]}


def test_small_enough():
    """Under 20 MB in the repository, as it was promised: all together."""
    root = os.path.join(os.path.dirname(__file__), "..", "..", "models")
    assert sum(os.path.getsize(os.path.join(root, name)) for name in os.listdir(root)) < 20e6
