"""Each kind of text, from small files made by hand."""

import pytest
from conftest import catalogue, put
from stages import catalogues, descriptions, games, man, markup
from stages.document import Block, Document, read_documents, tidy, write_documents
from stages.files import CorpusError


def kinds_and_texts(blocks):
    return [tuple(block) for block in blocks]


def test_tidy_makes_every_space_plain_and_drops_what_is_not_seen():
    assert tidy(" a\u00a0:\u202fb\n\tc\u2009d\u00ade\u200b ") == "a : b c de"


def test_documents_come_back_as_they_were_written(tmp_path):
    documents = [Document("é", [Block("p", "été\n")], []), Document("b", [], [Block("li", "x\ty")])]
    assert write_documents(tmp_path / "d.jsonl.gz", documents) == 2
    assert list(read_documents(tmp_path / "d.jsonl.gz")) == documents


# Catalogues


@pytest.mark.parametrize("order", "<>")
def test_a_catalogue_of_either_byte_order(order):
    data = catalogue([("Open the file.", "Ouvrir le fichier."), ("x y", "é à")], order)
    assert list(catalogues.pairs(data)) == [
        ("Ouvrir le fichier.", "Open the file."),
        ("é à", "x y"),
    ]


def test_a_catalogue_without_context_and_with_plurals():
    data = catalogue([("menu\x04Save as", "Enregistrer sous"), ("one file\0%d files", "un\0des")])
    assert list(catalogues.pairs(data)) == [
        ("Enregistrer sous", "Save as"),
        ("un", "one file"),
        ("des", "%d files"),
    ]


def test_a_catalogue_in_the_encoding_that_its_header_names():
    header = "Content-Type: text/plain; charset=ISO-8859-1\n"
    data = catalogue([("a summer", "un été")], header=header)
    assert list(catalogues.pairs(data)) == [("un été", "a summer")]


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b"", "0 bytes"),
        (b"PK\3\4" + b"\0" * 40, "not a .mo file"),
        (catalogue([("a", "b")])[:40], "beyond its end"),
        (catalogue([("a", "b")])[:-4], "beyond the end"),
    ],
)
def test_a_broken_catalogue_is_an_error_that_names_it(data, sentence):
    with pytest.raises(CorpusError, match="^fr.mo: ") as error:
        list(catalogues.pairs(data, "fr.mo"))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("&File", "File"),
        ("Save &As…", "Save As…"),
        ("Save _As", "Save As"),
        ("~Edit", "Edit"),
        ("AT&T", "ATT"),
        ("black & white", "black & white"),
        ("file_name", "file_name"),
        ("see ~/.profile", "see ~/.profile"),
        ("<b>Bold</b> &lt;text&gt;", "Bold <text>"),
    ],
)
def test_a_message_without_tags_entities_and_accelerators(text, expected):
    assert catalogues.plain(text) == expected


def test_paragraphs_of_a_message():
    text = "One\nline.<p>Two\n\n- three\n- four"
    assert [b.text for b in catalogues.paragraphs(text)] == [
        "One line.",
        "Two",
        "- three",
        "- four",
    ]


def test_only_french_catalogues_are_read(tmp_path):
    data = catalogue([("One file.", "Un fichier."), ("Quit", "Quitter"), ("a b", "a b")])
    put(tmp_path / "p/usr/share/locale/fr/LC_MESSAGES/x.mo", data)
    put(tmp_path / "p/usr/share/locale/de/LC_MESSAGES/x.mo", data)
    found = list(catalogues.extract(tmp_path))
    assert [(d.french[0].text, d.english[0].text) for d in found] == [("Un fichier.", "One file.")]


# Package descriptions


FRENCH_INDEX = """Package: zed
Description-md5: 22
Description-fr: éditeur
 Un éditeur⋅:
  — il est petit
    et rapide ;
  — il est libre.
 .
 Ce paquet contient
 la documentation.

Package: only-french
Description-md5: 33
Description-fr: seul
 Sans original.
"""
ENGLISH_INDEX = """Package: zed
Description-md5: 22
Description-en: editor
 An editor:
  * it is small
    and fast;
  * it is free.
 .
 This package contains
 the documentation.

Package: changed
Description-md5: 44
Description-en: changed
"""


def test_descriptions_are_joined_on_their_md5(tmp_path):
    french = put(tmp_path / "a_i18n_Translation-fr", FRENCH_INDEX)
    english = put(tmp_path / "a_i18n_Translation-en", ENGLISH_INDEX)
    assert list(descriptions.extract([french], [english])) == [
        Document(
            "zed",
            [
                Block("synopsis", "éditeur"),
                Block("text", "Un éditeur :"),
                Block("item", "il est petit et rapide ;"),
                Block("item", "il est libre."),
                Block("text", "Ce paquet contient la documentation."),
            ],
            [
                Block("synopsis", "editor"),
                Block("text", "An editor:"),
                Block("item", "it is small and fast;"),
                Block("item", "it is free."),
                Block("text", "This package contains the documentation."),
            ],
        )
    ]


def test_indented_lines_of_a_description_are_kept_apart():
    blocks = descriptions.blocks(["x", "Text", " code one", " code two", "more"])
    assert [b.kind for b in blocks] == ["synopsis", "text", "verbatim", "verbatim", "text"]


# Manual pages

PAGE = r""".TH LS 1 2022 GNU
.SH NAME
ls \- list
.SH DESCRIPTION
.PP
List \fBfiles\fP of
.IR "the folder" ,
see
.BR ls (1).
.TP
\fB\-a\fR, \-\-all
do not \(lqignore\(rq \[aq].\[aq]
.IP \(bu 2
An item.
.nf
code = 1;
.fi
.EX
more code
.EE
.\" a comment
Last\c
 line\&.
"""


def test_blocks_of_a_manual_page():
    assert kinds_and_texts(man.blocks(PAGE)) == [
        ("heading", "NAME"),
        ("text", "ls - list"),
        ("heading", "DESCRIPTION"),
        ("text", "List files of the folder, see ls(1)."),
        ("tag", "-a, --all"),
        ("item", "do not “ignore” '.'"),
        ("item", "An item."),
        ("item", "Last"),
        ("item", "line."),
    ]


def test_a_page_in_mdoc_is_left_alone():
    assert man.blocks(".Dd May 1, 2020\n.Dt LS 1\n.Sh NAME\n.Nm ls\n") == []


@pytest.mark.parametrize(
    "roff, text",
    [
        (r"\f[CW]a\f[]b\fIc\fP", "abc"),
        (r"caf\('e", "cafe\u0301"),
        (r"a\~b\ c\0d", "a b c d"),
        (r"\[u00E9]t\[u00E9]", "été"),
        (r"C:\ewin \s-1SMALL\s0 \m[blue]x\m[]", r"C:\win SMALL x"),
        (r"x\h'2n'y\*(lqz\*(rq", "xy“z”"),
        (r"text \" comment", "text "),
    ],
)
def test_escapes_of_roff(roff, text):
    assert man.unescape(roff) == text


def test_pages_of_two_packages_meet_by_name(tmp_path):
    put(
        tmp_path / "fr-package/usr/share/man/fr/man1/ls.1.gz", ".SH NOM\nfoo\n.SH TRADUCTION\nmoi\n"
    )
    put(tmp_path / "coreutils/usr/share/man/man1/ls.1.gz", ".SH NAME\nbar\n")
    put(tmp_path / "coreutils/usr/share/man/man1/cat.1.gz", ".SH NAME\nbar\n")
    put(tmp_path / "coreutils/usr/share/man/de/man1/ls.1.gz", ".SH NAME\nder\n")
    found = list(man.extract(tmp_path))
    assert found == [
        Document(
            "ls.1",
            [Block("heading", "NOM"), Block("text", "foo")],
            [Block("heading", "NAME"), Block("text", "bar")],
        )
    ]


# HTML, LibreOffice help, Mallard, DocBook


def test_blocks_of_html():
    html = """<html><head><title>Not this</title><style>p {}</style></head><body>
    <h1 class="t">The <em>title</em></h1><p>One&nbsp;&amp; two<br>three</p>
    <pre>code</pre><ul><li>item<p>in it</p>after</ul><table><tr><td>cell<td>next</table>
    <script>var p = "<p>no</p>";</script>bare text</body></html>"""
    assert kinds_and_texts(markup.blocks(html)) == [
        ("h1", "The title"),
        ("p", "One & two three"),
        ("li", "item"),
        ("p", "in it"),
        ("after p", "after"),
        ("td", "cell"),
        ("td", "next"),
        ("after table", "bare text"),
    ]


def test_libreoffice_help_is_paired_by_id(tmp_path):
    french = '<p id="par_id1">Un <b>mot</b>.</p><p id="par_id2">Deux.</p><p>Sans.</p>'
    english = '<p id="par_id2">Two.</p><h1 id="hd_id9">Nine</h1><p id="par_id1">One.</p>'
    put(tmp_path / "libreoffice-help-fr/h/fr/text/a.html", french)
    put(tmp_path / "libreoffice-help-en-us/h/en-US/text/a.html", english)
    put(tmp_path / "libreoffice-help-fr/h/fr/text/b.html", french)
    found = list(
        markup.by_id(
            tmp_path, r"libreoffice-help-fr/(.*)/fr/(.*)", r"libreoffice-help-en-us/\1/en-US/\2"
        )
    )
    assert found == [
        Document(
            "libreoffice-help-fr/h/fr/text/a.html",
            [Block("par_id1", "Un mot."), Block("par_id2", "Deux.")],
            [Block("par_id1", "One."), Block("par_id2", "Two.")],
        )
    ]


MALLARD = """<page xmlns="http://projectmallard.org/1.0/" id="a"><info>
<credit><name>Somebody</name></credit><desc>What it is.</desc></info>
<title>A <em>title</em></title><p>Press <key>F1</key> or <code>ls</code>.</p>
<code>int main(void);</code><steps><item><p>First.</p></item></steps></page>"""


def test_blocks_of_mallard_without_names_and_code():
    assert kinds_and_texts(markup.blocks(MALLARD)) == [
        ("desc", "What it is."),
        ("summary", "A title"),
        ("p", "Press F1 or ls."),
        ("p", "First."),
    ]


def test_docbook_is_read_with_its_entities_and_the_files_beside_it(tmp_path):
    book = """<?xml version="1.0"?><!DOCTYPE book PUBLIC "-//OASIS" "x.dtd" [
    <!ENTITY version "2.24"> <!ENTITY one SYSTEM "one.xml"> <!ENTITY up SYSTEM "../secret.xml">
    ]><book><para>Version &version;.</para>&one;&up;</book>"""
    put(tmp_path / "secret.xml", "<para>Not this.</para>")
    put(tmp_path / "book/one.xml", "<?xml version='1.0'?><para>Chapter.</para>")
    path = put(tmp_path / "book/index.docbook", book)
    blocks = markup.blocks(markup.with_entities(path))
    assert kinds_and_texts(blocks) == [("para", "Version 2.24."), ("para", "Chapter.")]


def test_pages_in_two_folders_or_with_two_endings(tmp_path):
    put(tmp_path / "doc/manual/fr/a.html", "<p>Un.</p>")
    put(tmp_path / "doc/manual/en/a.html", "<p>One.</p>")
    put(tmp_path / "book-fr/b.fr.html", "<p>Deux.</p>")
    put(tmp_path / "book-en/b.en.html", "<p>Two.</p>")
    put(tmp_path / "book-fr/lone.fr.html", "<p>Trois.</p>")
    patterns = [
        (r"(doc/manual)/fr/(.*\.html)", r"\1/en/\2"),
        (r"book-fr/(.*)\.fr\.html", r"book-en/\1.en.html"),
    ]
    assert [(d.french[0].text, d.english[0].text) for d in markup.pages(tmp_path, patterns)] == [
        ("Deux.", "Two."),
        ("Un.", "One."),
    ]


# Games


def test_descriptions_of_dungeon_crawl_by_key(tmp_path):
    base = tmp_path / "crawl-common/usr/share/crawl/dat/descript"
    put(
        base / "gods.txt",
        "# A note\n%%%%\nZin\n\nA god.\n\nOf\n# Why?\nlaw.\n%%%%\nBeogh\n\nAn orc.\n",
    )
    put(base / "fr/gods.txt", '%%%%\nZin\n\nUn dieu.\n{{ return "x" }}\n\nDe la loi.\n%%%%\n')
    texts = [Block("text", "A god."), Block("text", "Of law.")]
    french = [Block("text", "Un dieu."), Block("text", "De la loi.")]
    assert list(games.extract(tmp_path)) == [Document("gods.txt Zin", french, texts)]
