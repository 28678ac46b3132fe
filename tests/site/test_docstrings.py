"""Docstrings, as Sphinx reads them."""

from staging.docstrings import restructured


def made(text):
    return [line for line in restructured(text.splitlines()) if line]


def test_sections_of_entries():
    text = """Does it.

Args:
    query, key: [n, d], or
        nothing. See x_y.
    **options: see there.

Returns:
    The output; with views, two.

Errors: ValueError, for
    all."""
    assert made(text) == [
        "Does it.",
        "**Args**",
        "``query``, ``key``",
        "   ``[n, d]``, or nothing. See ``x_y``.",
        "``**options``",
        "   see there.",
        "**Returns**",
        "The output; with views, two.",
        "**Errors:** ValueError, for all.",
    ]


def test_code_after_a_double_colon():
    assert made("Scores::\n\n    s = q * k\n\nDone.") == [
        "Scores:", ".. code-block:: text", "   s = q * k", "Done.",
    ]  # fmt: skip


def test_signs_of_restructured_text_are_text():
    assert made("a * b and |c|, x_ too") == [r"a \* b and \|c\|, x\_ too"]


def test_code_ends_where_a_letter_follows():
    assert made("the `row`s, x_y=1, z_z.") == [r"the ``row``\ s, ``x_y``\ =1, ``z_z``."]


def test_names_of_the_package_are_linked():
    lines = restructured(
        ["As attn.attention does."], lambda name: name if name[:5] == "attn." else None
    )
    assert lines[0] == "As :py:obj:`attn.attention <attn.attention>` does."
