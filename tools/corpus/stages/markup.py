"""Blocks of HTML, Mallard and DocBook texts: paragraphs, items and headings, in order."""

import re
from html.parser import HTMLParser
from pathlib import Path

from .document import Block, Document, tidy
from .files import read_text

# Elements that begin a block where they begin, and where they end.
BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol "
    "option p section select summary table tbody td tfoot th thead title tr ul "
    # Mallard (GNOME help) and DocBook
    "desc page item steps list terms tree note info example synopsis listitem para simpara "
    "formalpara sect1 sect2 sect3 sect4 chapter book varlistentry variablelist itemizedlist "
    "orderedlist procedure step term entry row tgroup caution important tip warning abstract "
    "glossterm glossdef glossentry indexterm figure screenshot".split()
)
# Elements whose content is no prose: code, and notes about who wrote it.
SKIPPED = frozenset(
    "script style pre head noscript programlisting screen literallayout credit mal:credit comment "
    "media legal license revision revhistory authorgroup indexterm svg math textarea button nav "
    "bookinfo articleinfo othercredit copyright legalnotice screenshot".split()
)
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())


class Blocks(HTMLParser):
    """Collects blocks, and by id those that have one."""

    def __init__(self, mallard=False):
        super().__init__(convert_charrefs=True)
        self.mallard = mallard
        self.blocks, self.by_id = [], {}
        self.text, self.kind, self.id = [], "", None
        self.skipping = []

    def flush(self):
        """Ends the block that was being read."""
        text = tidy("".join(self.text))
        self.text = []
        if text:
            self.blocks.append(Block(self.kind, text))
            if self.id:
                self.by_id.setdefault(self.id, text)
        self.id = None

    def _code_block(self, tag):
        # Mallard's <code> is a block where it stands in no paragraph.
        return self.mallard and tag == "code" and self.kind not in ("p", "summary", "desc")

    def handle_starttag(self, tag, attrs):
        if self.skipping:
            if tag == self.skipping[-1]:
                self.skipping.append(tag)
            return
        if tag in SKIPPED or self._code_block(tag):
            self.flush()
            self.skipping.append(tag)
        elif tag in BLOCKS:
            self.flush()
            self.kind = tag
            self.id = dict(attrs).get("id")
        elif tag == "br":
            self.text.append(" ")

    def handle_startendtag(self, tag, attrs):
        # <p/> ends where it begins; <div/> does not in HTML, but its end tag would then be missing.
        if not self.skipping and tag in BLOCKS:
            self.flush()
        elif tag in ("br", "xref") and not self.skipping:
            self.text.append(" ")

    def handle_endtag(self, tag):
        if self.skipping:
            if tag == self.skipping[-1]:
                self.skipping.pop()
        elif tag in BLOCKS:
            self.flush()
            self.kind = "after " + tag

    def handle_data(self, data):
        if not self.skipping:
            self.text.append(data)


def parse(text):
    """The parser, when it has read the whole text."""
    # Newer parsers take <title> as text without elements, which in help pages it is not; in HTML
    # it stands in <head>, which is skipped.
    text = re.sub(r"<(/?)title\b", r"<\1summary", text)
    text = re.sub(r"<!\[CDATA\[.*?\]\]>", " ", text, flags=re.S)
    text = re.sub(r"<!DOCTYPE[^\[>]*\[.*?\]\s*>", "", text, flags=re.S)
    parser = Blocks(mallard="<page" in text[:2000])
    parser.feed(text)
    parser.close()
    parser.flush()
    return parser


def blocks(text):
    """The blocks of a text in HTML, Mallard or DocBook."""
    return parse(text).blocks


ENTITY = re.compile(r'<!ENTITY\s+([\w.-]+)\s+(SYSTEM\s+)?(?:"([^"]*)"|\'([^\']*)\')')


def with_entities(path, depth=0):
    """The text of a page; in XML with what its own entities stand for, files beside it included."""
    text = read_text(path)
    if path.suffix not in (".docbook", ".xml", ".page"):
        return text
    for name, system, double, single in ENTITY.findall(text):
        value = double or single
        if system:
            file = path.parent / value
            inside = file.is_file() and path.parent.resolve() in file.resolve().parents
            value = with_entities(file, depth + 1) if inside and depth < 3 else " "
            value = re.sub(r"<\?xml.*?\?>|<!DOCTYPE[^\[>]*>", "", value)
        text = text.replace(f"&{name};", value)
    return text


def pages(unpacked, patterns):
    """Documents of pages in two languages.

    `patterns` are triples: a regular expression for French paths below `unpacked`, package first,
    and what to make of it to have the English path."""
    for french in sorted(path for path in Path(unpacked).rglob("*") if path.is_file()):
        relative = str(french.relative_to(unpacked))
        for pattern, replacement in patterns:
            found = re.fullmatch(pattern, relative)
            english = found and Path(unpacked) / found.expand(replacement)
            if english and english.is_file():
                yield Document(
                    relative, blocks(with_entities(french)), blocks(with_entities(english))
                )
                break


def by_id(unpacked, pattern, replacement):
    """LibreOffice help: each element of a page with the element of the same id in the other."""
    for french in sorted(Path(unpacked).rglob("*.html")):
        relative = str(french.relative_to(unpacked))
        found = re.fullmatch(pattern, relative)
        english = found and Path(unpacked) / found.expand(replacement)
        if not english or not english.is_file():
            continue
        left, right = parse(read_text(french)).by_id, parse(read_text(english)).by_id
        shared = [name for name in left if name in right and re.match("(par|hd)_id", name)]
        yield Document(
            relative,
            [Block(name, left[name]) for name in shared],
            [Block(name, right[name]) for name in shared],
        )
