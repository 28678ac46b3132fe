"""Blocks of manual pages in man(7) macros, by a reader of the roff that such pages use."""

import re
from pathlib import Path

from .document import Block, Document, tidy
from .files import read_text

SPECIAL = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "Fo": "«", "Fc": "»",
    "em": "—", "en": "–", "bu": "•", "co": "©", "rg": "®", "tm": "™", "ha": "^", "ti": "~",
    "rs": "\\", "ga": "`", "mc": "µ", "mu": "×", "+-": "±", "<=": "≤", ">=": "≥", "->": "→",
    "<-": "←", "hy": "-", "bv": "|", "ba": "|", "at": "@", "sh": "#", "Do": "$", "12": "½",
    "14": "¼", "34": "¾", "de": "°", "sc": "§", "ss": "ß", "oe": "œ", "OE": "Œ", "ae": "æ",
    "AE": "Æ", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "<", "ra": ">", "!=": "≠",
    "mi": "-", "pl": "+", "eq": "=", "sl": "/", "ul": "_", "Eu": "€", "Po": "£", "if": "∞",
}  # fmt: skip
STRINGS = {"lq": "“", "rq": "”", "R": "®", "Tm": "™", "S": "", "(lq": "“", "(rq": "”"}
ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", ",": "\u0327", "~": "\u0303"}

ESCAPE = re.compile(
    r"""\\(?:
      (?P<font>f(?:\(..|\[[^\]]*\]|.))
    | (?P<size>s(?:[-+]?\d{1,2}|\[[^\]]*\]|\([-+]?..))
    | (?P<colour>[mMF](?:\(..|\[[^\]]*\]|[^\s]))
    | \[(?P<long>[^\]]*)\]
    | \((?P<two>..)
    | \*(?:\[(?P<string>[^\]]*)\]|\((?P<string2>..)|(?P<string1>.))
    | n(?:\[[^\]]*\]|\(..|.)
    | [hvwXlLoDbAZ]'[^']*'
    | (?P<one>.)
    | $)""",
    re.X,
)
ONE = {
    "-": "-", "e": "\\", "~": " ", " ": " ", "0": " ", "'": "´", "`": "`", "t": " ", ".": ".",
    "\\": "\\",
}  # fmt: skip


def _escape(found):
    if found["one"]:
        return ONE.get(found["one"], "")
    if found["two"] is not None or found["long"] is not None:
        name = found["two"] if found["two"] is not None else found["long"]
        if re.fullmatch(r"u[0-9A-F]{4,6}", name):
            return chr(int(name[1:], 16))
        if len(name) == 2 and name[1].isalpha() and name[0] in ACCENTS and name not in SPECIAL:
            return name[1] + ACCENTS[name[0]]
        return SPECIAL.get(name, "")
    for group in ("string", "string2", "string1"):
        if found[group] is not None:
            return STRINGS.get(found[group], "")
    return ""


def unescape(line):
    """A line of text without roff's escapes."""
    return ESCAPE.sub(_escape, re.sub(r'\\["#].*', "", line))


def arguments(line):
    """The arguments of a macro's line; quotes hold spaces together, two of them stand for one."""
    found = re.findall(r'"((?:[^"]|"")*)"?|((?:\\ |[^\s"])(?:\\ |\S)*)', line)
    return [quoted.replace('""', '"') or bare for quoted, bare in found]


ALTERNATING = frozenset("BR RB BI IB IR RI".split())
PARAGRAPHS = frozenset("PP P LP HP RS RE sp br Pp UE ME EE TE fi".split())
SKIP_TO = {
    "nf": "fi",
    "EX": "EE",
    "TS": "TE",
    "SY": "YS",
    "ig": ".",
    "de": ".",
    "PS": "PE",
    "EQ": "EN",
}


class Page:
    """The reader: takes lines, gathers blocks."""

    def __init__(self):
        self.blocks, self.text = [], []
        self.kind, self.until, self.next_is = "text", None, None

    def flush(self, kind="text"):
        """Ends a block; what follows is of the kind."""
        text = tidy(unescape(" ".join(self.text)))
        self.text = []
        if text:
            self.blocks.append(Block(self.kind, text))
        self.kind = kind

    def add(self, text):
        """A line of text; after .TP it is the tag, and after .SH the heading."""
        self.text.append(text)
        if self.next_is:
            kind, self.next_is = self.next_is, None
            self.flush(kind)

    def macro(self, name, rest):
        """A line that begins with a dot."""
        values = arguments(rest)
        if name in SKIP_TO:
            self.flush(self.kind)
            self.until = SKIP_TO[name]
        elif name in ("SH", "SS"):
            self.flush("heading")
            self.next_is = "text"
            if values:
                self.add(" ".join(values))
        elif name in ("TP", "TQ"):
            self.flush("tag")
            self.next_is = "item"
        elif name == "IP":
            self.flush("item")
        elif name in PARAGRAPHS:
            self.flush()
        elif name in ("B", "I", "SM", "SB") and values:
            self.add(" ".join(values))
        elif name in ALTERNATING:
            self.add("".join(values))
        elif name == "MR" and len(values) > 1:
            self.add(f"{values[0]}({values[1]}){''.join(values[2:])}")


def blocks(text):
    """The blocks of a page; none if it is written in mdoc(7), or only names another page."""
    if re.search(r"^\.Dd\b", text, re.M):
        return []
    page = Page()
    for line in re.sub(r"\\\n", "", text).split("\n"):
        dotted = re.match(r"[.']\s*([\w\\.\"]*)\s*(.*)", line)
        if page.until:
            if dotted and (dotted[1] == page.until or line.strip() == ".."):
                page.until = None
        elif dotted:
            if not dotted[1].startswith(("\\", '"')):
                page.macro(dotted[1], re.sub(r'\\".*', "", dotted[2]))
        elif not line.strip():
            page.flush()
        elif line[0] in " \t" and page.text:
            page.flush(page.kind)
            page.text.append(line)
        else:
            page.add(line.removesuffix("\\c"))
    page.flush()
    return page.blocks


def without_translators(found):
    """The blocks without the section that only translations have, at their end."""
    for index, block in enumerate(found):
        if block.kind == "heading" and block.text.upper() in ("TRADUCTION", "TRADUCTEURS"):
            return found[:index]
    return found


PAGE = re.compile(r"(?:^|/)usr/share/man/(fr(?:\.UTF-8)?/)?man\d\w*/([^/]+?)(\.gz)?$")


def extract(unpacked):
    """One document for each page that is in both languages, in whichever packages."""
    pages = {}
    for path in sorted(Path(unpacked).rglob("*")):
        found = PAGE.search(str(path.relative_to(unpacked)))
        if found and path.is_file():
            pages.setdefault(found[2], {}).setdefault("fr" if found[1] else "en", path)
    for name, page in sorted(pages.items()):
        if len(page) == 2:
            french = without_translators(blocks(read_text(page["fr"])))
            english = blocks(read_text(page["en"]))
            if french and english:
                yield Document(name, french, english)
