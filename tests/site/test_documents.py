"""Documents as pages: their links lead where they led, and their words stay."""

import re
from pathlib import Path

import pytest
from staging.documents import PAGES, Documents

ROOT = Path(__file__).resolve().parents[2]


def line(source, text, **pages):
    return Documents(PAGES | pages).page(source, text)[0]


def test_links_to_documents_lead_to_their_pages():
    made = line("docs/BENCHMARKS.md", "see [how](../bench/README.md#peers) and [more](MATHS.md)")
    assert made == "see [how](measuring.md#peers) and [more](maths.md)"


def test_a_folder_is_its_readme():
    assert line("CONTRIBUTING.md", "[r](examples/reactions)") == "[r](../background/reactions.md)"


def test_files_without_a_page_are_named():
    assert line("docs/DESIGN.md", "[the driver](../src/attention/forward.c)") == (
        "the driver (`src/attention/forward.c`)"
    )


def test_other_addresses_stay():
    text = "[a](https://example.org) [b](#here)"
    assert line("docs/DESIGN.md", text) == text


def test_files_that_are_mentioned_are_linked():
    assert (
        line("docs/DESIGN.md", "`docs/MATHS.md` and `x.c`")
        == "[`docs/MATHS.md`](maths.md) and `x.c`"
    )


def test_code_is_left_alone():
    text = "```\n[a](MATHS.md)\n```\n\n    [b](MATHS.md)"
    assert Documents(PAGES).page("docs/DESIGN.md", text) == text.splitlines()


def test_pictures_come_along():
    documents = Documents(PAGES)
    made = documents.page("docs/EXPERIMENT.md", "![lines](pictures/lines.svg)")
    assert made == ["![lines](../pictures/lines.svg)"]
    assert documents.pictures == {"docs/pictures/lines.svg": "pictures/lines.svg"}


@pytest.mark.parametrize("source", PAGES)
def test_every_document_is_there_whole(source):
    """Outside of links nothing changes, so the words are the same in the same order."""
    text = (ROOT / source).read_text()
    made = "\n".join(Documents(PAGES).page(source, text))

    def bare(text):
        text = re.sub(r"\]\([^)]*\)", "]", text)
        return re.findall(r"\w+", text)

    assert bare(made) == bare(text)
