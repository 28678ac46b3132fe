"""From a public header to pages: one for its head, one for each section that a banner begins.

The comments of the headers are the manual. Each declaration becomes a heading with what its comment
says, and the declaration itself, highlighted. A struct or enum whose members have comments above
them is shown in pieces, each with its words. Nothing of a header is left out
(tests/site/test_headers.py counts the words).
"""

import re
from dataclasses import dataclass, field

from . import prose

BANNER = re.compile(r"^/\* -{20,}$")
RULE = re.compile(r"^ \* -{20,} \*/$")
EXPORT = "ATTN_API "
BRACES = re.compile(r"\{[^{}]*\}")
# A declaration begins its line; what is in braces has become "@".
DECLARED = re.compile(
    r"^typedef (?:struct|enum) \w+ (?:@ )?(attn_\w+);"
    r"|^enum \{\s*(ATTN_\w+)"
    r"|^#define (ATTN_\w+)"
    r"|^(?!typedef (?:struct|enum)|#)\w.*?\b(attn_\w+)\(",
    re.MULTILINE,
)
ENUMERATOR = re.compile(r"^\s*(ATTN_\w+) =", re.MULTILINE)


@dataclass
class Item:
    """What one comment is about: its text, and the declarations below it."""

    comment: list
    codes: list = field(default_factory=list)  # each a list of lines

    @property
    def names(self):
        return [name for code in self.codes for name in declared(code)]


@dataclass
class Section:
    title: str
    introduction: list
    items: list

    @property
    def short_title(self):
        return re.split(r"[:,]", self.title)[0]

    @property
    def slug(self):
        return re.sub(r"[^a-z0-9]+", "-", self.short_title.lower()).strip("-")


@dataclass
class Header:
    name: str  # "attn.h"
    comment: list  # the text of its head
    preamble: list  # the code between head and the first comment after it
    items: list  # what stands before the first section
    sections: list


def declared(code):
    """The names of attn that a piece of code declares, in order.

    >>> declared(["typedef struct attn_a {", "    int64_t b;", "} attn_a;"])
    ['attn_a']
    """
    text = re.sub(r"/\*.*?\*/", "", "\n".join(code), flags=re.DOTALL)
    count = 0 if text.startswith("enum {") else 1  # a constant's name stands in the braces
    while count:
        text, count = BRACES.subn("@", text)
    return [next(filter(None, match.groups())) for match in DECLARED.finditer(text)]


def enumerators(code):
    """The enumerators that a piece of code declares."""
    text = re.sub(r"/\*.*?\*/", "", "\n".join(code), flags=re.DOTALL)
    return ENUMERATOR.findall(text) if "enum" in text else []


def parse(name, text):
    """A Header of a header's text."""
    lines = text.splitlines()
    head, lines = prose.take_comment(lines)
    lines = lines[: len(lines) - lines[::-1].index("#ifdef __cplusplus") - 1]  # closes extern "C"
    starts = [number for number, line in enumerate(lines) if BANNER.match(line)]
    sections = [_section(lines[start:end]) for start, end in zip(starts, starts[1:] + [len(lines)])]
    preamble = _trim(lines[: starts[0]])
    first = next((n for n, line in enumerate(preamble) if line.startswith("/*")), len(preamble))
    items = _items(preamble[first:])
    return Header(name, prose.comment_text(head), _trim(preamble[:first]), items, sections)


def _trim(lines):
    while lines and not lines[0].strip():
        lines = lines[1:]
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def _section(lines):
    banner, lines = prose.take_comment(lines)
    assert RULE.match(banner[-1]), f"a banner that does not end: {banner}"
    words = [line.strip().removeprefix("*").removeprefix(" ").rstrip() for line in banner[1:-1]]
    return Section(words[0], _trim(words[1:]), _items(lines))


def _items(lines):
    items = []
    for comment, code in _chunks(lines):
        if comment or not items or not _belongs(code):
            items.append(Item(prose.comment_text(comment) if comment else []))
        items[-1].codes.append(code)
    return items


def _belongs(code):
    """Whether code without a comment is about what stands above it: functions are, types not."""
    return not code[0].startswith(("typedef", "enum", "#"))


def _chunks(lines):
    """Pairs of a comment and the code below it, up to a blank line or the next comment."""
    comment, code, depth = [], [], 0
    for line in _joined_comments(lines):
        if depth == 0 and (not line[0].strip() or line[0].startswith("/*")):
            if code:
                yield comment, code
                comment, code = [], []
            if line[0].startswith("/*"):
                assert not comment, f"a comment about nothing: {comment}"
                comment = line
            continue
        code += line
        depth += sum(part.count("{") - part.count("}") for part in line)
    if code:
        yield comment, code


def _joined_comments(lines):
    """Groups of lines: each comment that begins its line in one piece, other lines alone."""
    lines = list(lines)
    while lines:
        count = 1
        if lines[0].lstrip().startswith("/*"):
            count += next(n for n, line in enumerate(lines) if line.rstrip().endswith("*/"))
        yield lines[:count]
        lines = lines[count:]


# --- Pages ---------------------------------------------------------------------------------------


def targets(header, folder):
    """For each name that a header declares, (page, anchor); enumerators lead to their enum."""
    found = {}
    places = [("index", header.items)] + [
        (section.slug, section.items) for section in header.sections
    ]
    for slug, items in places:
        page = f"{folder}/{slug}.md"
        for item in items:
            for code in item.codes:
                names = declared(code)
                found |= {name: (page, anchor(name)) for name in names}
                if names:
                    found |= {e: (page, anchor(names[0])) for e in enumerators(code)}
    return found


def anchor(name):
    return "c-" + name.lower().replace("_", "-")


def index_page(header, link):
    """The page of a header's head, with its sections."""
    lines = [f"# attn/{header.name}", ""]
    title, rest = header.comment[0], header.comment[1:]
    summary = title.partition(": ")[2]
    lines += [prose.Markdown(link).inline(summary[0].upper() + summary[1:]), ""]
    lines += prose.markdown(rest, link)
    lines += ["## Sections", "", "```{toctree}", ":maxdepth: 1", ""]
    lines += [f"{section.short_title} <{section.slug}>" for section in header.sections]
    lines += ["```", "", "## Before the first section", ""]
    lines += ["```c", *header.preamble, "```", ""]
    return lines + [line for item in header.items for line in [*_item(item, link), ""]]


def section_page(section, link):
    lines = [f"# {section.title}", ""] + prose.markdown(section.introduction, link)
    for item in section.items:
        lines += _item(item, link) + [""]
    return lines


def _item(item, link):
    names = item.names
    lines = [f"({anchor(name)})=" for name in names if name]
    lines += ["## " + (", ".join(f"`{name}`" for name in names) or "Constants"), ""]
    words = prose.markdown(item.comment, link)
    codes = [line for code in item.codes for line in [*_code(code, link), ""]]
    # What is called comes before what is said of it, what is filled in after.
    return lines + (words + codes if item.codes[0][0].startswith("typedef") else codes + words)


def _code(code, link):
    """A declaration: in pieces, each with its words, where comments stand above members."""
    groups = list(_members(code[1:-1])) if code[0].startswith("typedef") else []
    if not any(comment for comment, _ in groups):
        return ["```c", *_without_export(code), "```"]
    lines = ["```c", code[0].rstrip() + " ... " + code[-1].strip(), "```", ""]
    for comment, members in groups:
        lines += [":::{container} member", "", "```c", *_dedent(members), "```", ""]
        lines += prose.markdown(prose.comment_text(comment), link) if comment else []
        lines += [":::", ""]
    return lines[:-1]


def _without_export(code):
    """A declaration without the macro that exports it, its further lines moved with it."""
    if not code[0].startswith(EXPORT):
        return code
    made, moved = [], False
    for line in code:
        if line.startswith(EXPORT):
            made.append(line.removeprefix(EXPORT))
            moved = True
        else:
            made.append(line.removeprefix(" " * len(EXPORT)) if moved else line)
    return made


def _dedent(code):
    margin = min((len(line) - len(line.lstrip()) for line in code if line.strip()), default=0)
    return [line[margin:] for line in code]


def _members(lines):
    """Pairs of a comment (or nothing) and the members below it."""
    comment, members = [], []
    for group in _joined_comments(lines):
        starts_comment = group[0].lstrip().startswith("/*")
        # A comment at the end of a member may go on below, in a deeper column.
        trailing = starts_comment and members and not members[-1].rstrip().endswith((";", ",", "/"))
        if (starts_comment and not trailing) or not group[0].strip():
            if members:
                yield comment, members
                comment, members = [], []
            comment = group if starts_comment else comment
        else:
            members += group
    if members:
        yield comment, members
