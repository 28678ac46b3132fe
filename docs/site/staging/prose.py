"""From the plain text of comments to Markdown.

Comments in this tree are written for a reader of the file. Their layout says what is what: lines
that are indented are formulas or code, "- " begins an item of a list, a name and two blanks or more
begin the description of that name, and brackets hold shapes. Nothing is left out here, and nothing
added: only Markdown around the same words.
"""

import re

# A paragraph that begins so says one thing of a function; the word is what a reader looks for.
LABELS = (
    "Args",
    "Bits",
    "Cost",
    "Errors",
    "Memory",
    "Numerics",
    "Returns",
    "Scratch",
    "Source",
    "Threads",
)

CODE_INDENT = 4
LABELLED = re.compile(rf"(?:{'|'.join(LABELS)}): ")  # its further lines may be indented
ITEM = re.compile(r"^ *- ")
# "name    description"; the description's lines go on in its own column.
DESCRIPTION = re.compile(r"^ {0,3}(?=\S)(?P<name>\S+(?: \S+){0,3}) {2,}(?=\S)")
OPERATOR = re.compile(r"^\s+[-+*/=]")

CODE = re.compile(
    r"""
      "[^"\s]+" | ``[^`]+`` | `[^`]+`      # one quoted word; code already
    | [A-Za-z_]\w*(?:\[[^\]]+\])+          # element: w[i][j]
    | \[[\w .,+*/()'-]+\]                  # shape: [batch, heads, n_query, d]
    | \b(?:[\w-]+/)+[\w-]+\.(?:c|h|md)\b   # file: docs/MATHS.md
    | \b[A-Za-z][A-Za-z0-9]*(?:(?:->|[._])\w+)+\b(?:\(\))?  # n_query, views.path, attn.h
    | \b(?:NULL|INFINITY)\b
    """,
    re.VERBOSE,
)
# What may stand beside a literal of reStructuredText ("" is in every string: the end of the text).
BEFORE_LITERAL = " '\"([{<-/:"
AFTER_LITERAL = " '\")]}>-/:.,;!?"
# What only code in Python looks like.
PYTHON = re.compile(
    r"^ *(?:import \w|from \w+ import|with .*:$|for .*:$)|\w = \w+\.\w+\(|attn\.\w+\("
)


def take_comment(lines):
    """The comment that lines begin with, and the lines after it."""
    end = next(number for number, line in enumerate(lines) if line.rstrip().endswith("*/"))
    return lines[: end + 1], lines[end + 1 :]


def comment_text(comment):
    """The text of one C comment, without its delimiters and the stars of its margin.

    >>> comment_text(["/* One.", " *", " *     two */"])
    ['One.', '', '    two']
    """
    lines = [line.strip() for line in comment]
    lines[0] = lines[0].removeprefix("/*")
    lines[-1] = lines[-1].removesuffix("*/")
    lines[1:] = [line.removeprefix("*") for line in lines[1:]]
    return [line.removeprefix(" ").rstrip() for line in lines]


class Markdown:
    """How blocks are written in Markdown.

    `link(name)` gives the target of a name that has a page, or None.
    """

    special = re.compile(r"([\\`*_\[\]<>#|~$^])")

    def __init__(self, link=None):
        self.link = link or (lambda name: None)

    def inline(self, text):
        """Running text: names and shapes as code, all else escaped."""
        made, end = [], 0
        for match in CODE.finditer(text):
            made.append(self.escaped(text[end : match.start()]))
            made.append(self._span(match))
            end = match.end()
        made.append(self.escaped(text[end:]))
        return "".join(made)

    def escaped(self, text):
        return self.special.sub(r"\\\1", text)

    def _span(self, match):
        text = match.group().strip("`")
        target = self.link(text.removesuffix("()"))
        return self.linked(text, target) if target else self.code(text, match)

    def code(self, text, match=None):
        return f"`{text}`"

    def linked(self, text, target):
        return f"[`{text}`]({target})"

    def strong(self, text):
        return f"**{text}**"

    def code_block(self, language, lines):
        return [f"```{language}", *lines, "```"]

    def items(self, items):
        return ["- " + self.inline(item) for item in items]

    def definitions(self, pairs):
        """Pairs of a name, and the lines that describe it, written already."""
        made = []
        for name, lines in pairs:
            made += [name, *_hanging(": ", lines), ""]
        return made[:-1]


class Restructured(Markdown):
    """The same in reStructuredText, as docstrings must be for Sphinx."""

    special = re.compile(r"([\\`*_|])")

    def code(self, text, match=None):
        # A literal begins and ends beside a blank or certain signs; "\\ " stands for one, unseen.
        before = match.string[: match.start()][-1:] if match else ""
        after = match.string[match.end() : match.end() + 1] if match else ""
        opens = "" if before in BEFORE_LITERAL else "\\ "
        closes = "" if after in AFTER_LITERAL else "\\ "
        return f"{opens}``{text}``{closes}"

    def linked(self, text, target):
        return f":py:obj:`{text} <{target}>`"

    def code_block(self, language, lines):
        return [f".. code-block:: {language}", "", *("   " + line for line in lines)]

    def definitions(self, pairs):
        made = []
        for name, lines in pairs:
            made += [name, *("   " + line if line else "" for line in lines), ""]
        return made[:-1]


def _hanging(mark, lines):
    indent = " " * len(mark)
    return [
        (mark if number == 0 else indent if line else "") + line
        for number, line in enumerate(lines)
    ]


def write(lines, writer):
    """The lines of a comment's text, as a writer's."""
    made = []
    for kind, block in _blocks(lines):
        made += _WRITERS[kind](block, writer) + [""]
    return made


def markdown(lines, link=None):
    """Markdown, a list of lines, of a comment's text."""
    return write(lines, Markdown(link))


def _blocks(lines):
    """Pairs of a kind ("text", "code", "items", "names") and the lines of a block."""
    blocks, rest = [], list(lines)
    while rest:
        kind = _kind(rest, blocks)
        if kind == "blank":
            rest.pop(0)
            blocks.append(("blank", []))
            continue
        block = [rest.pop(0)]
        while rest and _goes_on(kind, block, rest):
            block.append(rest.pop(0))
        if kind == "code" and OPERATOR.match(block[0]) and blocks and blocks[-1][0] == "text":
            block.insert(0, blocks[-1][1].pop())  # a formula whose first line stands at the margin
        blocks.append((kind, block))
    return [(kind, block) for kind, block in blocks if block]


def _indent(line):
    return len(line) - len(line.lstrip())


def _kind(rest, blocks):
    line = rest[0]
    if not line.strip():
        return "blank"
    if _indent(line) >= CODE_INDENT:
        return "code"
    if ITEM.match(line):
        return "items"
    match = DESCRIPTION.match(line)
    if match and (not blocks or blocks[-1][0] == "blank"):
        return "names"
    return "code" if _indent(line) >= 2 else "text"


def _goes_on(kind, block, rest):
    line = rest[0]
    if not line.strip():
        # An indented block may have blank lines within.
        later = next((other for other in rest if other.strip()), "")
        return kind == "code" and _indent(later) >= CODE_INDENT
    if kind == "code":
        return _indent(line) >= 2 or not block[-1].strip()
    if kind == "items":
        return bool(ITEM.match(line)) or _indent(line) > _indent(block[0])
    if kind == "names":
        return bool(DESCRIPTION.match(line)) or _indent(line) >= DESCRIPTION.match(block[0]).end()
    if LABELLED.match(block[0]):
        return _indent(line) == CODE_INDENT or _indent(line) < 2
    return _indent(line) < 2 and not ITEM.match(line)


def _write_text(block, writer):
    text = " ".join(line.strip() for line in block)
    label, colon, rest = text.partition(": ")
    if colon and label in LABELS:
        return [f"{writer.strong(label + ':')} {writer.inline(rest)}"]
    return [writer.inline(text)]


def _write_code(block, writer):
    margin = min(_indent(line) for line in block if line.strip())
    while not block[-1].strip():
        block.pop()
    return writer.code_block(_language(block), [line[margin:] for line in block])


def _language(block):
    if any(line.rstrip().endswith((";", "{", "}")) for line in block):
        return "c"
    return "python" if any(PYTHON.search(line) for line in block) else "text"


def _write_items(block, writer):
    made = []
    for line in block:
        if ITEM.match(line):
            made.append(ITEM.sub("", line))
        else:
            made[-1] += " " + line.strip()
    return writer.items(made)


def _write_names(block, writer):
    made = []
    for line in block:
        match = DESCRIPTION.match(line)
        if match:
            made.append([match.group("name"), line[match.end() :]])
        else:
            made[-1][1] += " " + line.strip()
    return writer.definitions(
        [(_name(name, writer), [writer.inline(description)]) for name, description in made]
    )


def _name(name, writer):
    return writer.inline(name) if "[" in name else writer.code(name)


_WRITERS = {
    "text": _write_text,
    "code": _write_code,
    "items": _write_items,
    "names": _write_names,
}
