"""The modules of examples/experiment and examples/summaries."""

import os
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES / name) for name in ("experiment", "summaries")]


@pytest.fixture
def attn():
    """The path of the built command; skips without it or without SentencePiece in it."""
    binary = os.environ.get("ATTN_BIN")
    if not binary:
        pytest.skip("ATTN_BIN is not set: expected the path of the built command")
    return os.path.abspath(binary)


@pytest.fixture
def text(tmp_path):
    """A file of 300 pairs, in which the target says the source's words in reverse."""
    words = "le chat noir dort sur un grand tapis rouge et la souris danse dans une maison".split()
    path = tmp_path / "text.tsv"
    with open(path, "w", encoding="utf-8") as out:
        for i in range(300):
            chosen = [words[(i * 7 + k * k + i // 16) % len(words)] for k in range(2 + i % 9)]
            out.write(f"{' '.join(chosen)} .\t{' '.join(reversed(chosen))} .\n")
    return path
