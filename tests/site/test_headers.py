"""Pages of the C reference: whatever a header says must be on them, and under the right name."""

import re
from collections import Counter
from pathlib import Path

import pytest
from staging import headers, prose

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ("attn.h", "gradients.h", "nn.h", "transformer.h")


def read(name):
    return (ROOT / "include/attn" / name).read_text()


def pages(header):
    """All pages of a header as one text."""
    lines = headers.index_page(header, None)
    for section in header.sections:
        lines += headers.section_page(section, None)
    return "\n".join(lines)


def words(text):
    """How often each word and number occurs; signs and the marks of Markdown do not count."""
    return Counter(re.findall(r"[a-z0-9]+", text.lower()))


@pytest.mark.parametrize("name", HEADERS)
def test_no_word_of_a_header_is_lost(name):
    """The pages say every word at least as often: names come again as headings and targets. What
    closes the header is left out, and the macro that exports is shown once, where it is defined."""
    text = read(name)
    closing = "#ifdef __cplusplus\n}\n#endif\n\n#endif"
    assert text.rstrip().endswith(closing)
    text = text.rstrip().removesuffix(closing).replace("ATTN_API ", "")
    missing = words(text) - words(pages(headers.parse(name, read(name))))
    assert not missing


@pytest.mark.parametrize("name", HEADERS)
def test_every_function_has_its_own_target(name):
    text = re.sub(r"/\*.*?\*/", "", read(name), flags=re.DOTALL)
    functions = re.findall(r"^ATTN_API [^;(]*?(attn_\w+)\(", text, re.MULTILINE)
    types = re.findall(r"^\} (attn_\w+);", text, re.MULTILINE)
    assert len(functions) > 3
    targets = headers.targets(headers.parse(name, read(name)), "c")
    made = pages(headers.parse(name, read(name)))
    for symbol in functions + types:
        assert symbol in targets
        assert made.count(f"({headers.anchor(symbol)})=") == 1, symbol


def test_declared_names():
    code = """typedef struct attn_a {
    int64_t b; /* not attn_c(x); */
    enum { X } d;
} attn_a;
typedef struct attn_e attn_e;
ATTN_API const char *attn_f(const attn_a *a,
                            attn_callback *attn_no);
static inline attn_a attn_g(void) {
    return attn_h();
}
typedef void attn_i(void *user);""".splitlines()
    assert headers.declared(code) == ["attn_a", "attn_e", "attn_f", "attn_g", "attn_i"]


def test_enumerators_lead_to_their_enum():
    targets = headers.targets(headers.parse("attn.h", read("attn.h")), "c")
    assert targets["ATTN_SPARSEMAX"] == ("c/the-problem.md", "c-attn-normalizer-kind")


def test_members_with_words_above_them_are_entries():
    code = """typedef struct attn_a {
    /* What x is. */
    int x;
    int y; /* and y,
            * whose words go on */

    int z;
} attn_a;""".splitlines()
    page = "\n".join(
        headers.section_page(headers.Section("T", [], [headers.Item([], [code])]), None)
    )
    first, second = page.split(":::{container} member")[1:]
    assert "What x is." in first and "int x;" in first and "* whose words go on */" in first
    assert "int z;" in second


# --- Comments ------------------------------------------------------------------------------------


def blocks(*lines):
    return prose.markdown(list(lines))


def test_paragraphs_and_names():
    assert blocks("Rows of x_y [n, d]", "and *z.") == ["Rows of `x_y` `[n, d]` and \\*z.", ""]


def test_indented_lines_are_code():
    assert blocks("so:", "    a = b", "        + c", "and") == [
        "so:", "", "```text", "a = b", "    + c", "```", "", "and", "",
    ]  # fmt: skip


def test_a_formula_takes_its_first_line_along():
    assert blocks("with", "G = a", "      + b,", "it is") == [
        "with", "", "```text", "G = a", "      + b,", "```", "", "it is", "",
    ]  # fmt: skip


def test_descriptions():
    assert blocks("context    threads;", "           memory", "to         places") == [
        "`context`", ": threads; memory", "", "`to`", ": places", "",
    ]  # fmt: skip


def test_labels_are_strong():
    assert blocks("Cost: much.") == ["**Cost:** much.", ""]


def test_comment_text_drops_only_the_margin():
    comment = ["/* One *p,", " *", " *     two * three", " * four. */"]
    assert prose.comment_text(comment) == ["One *p,", "", "    two * three", "four."]
