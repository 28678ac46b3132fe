"""From docstrings to what Sphinx reads.

Docstrings here are written as the comments in C are, and with Google's sections ("Args:" and lines
"name: description" below it). conf.py hands them to `restructured` as autodoc reads them.
"""

import re

from . import prose

SECTION = re.compile(r"^([A-Z]\w*(?: \w+)?):$")
# A section's entry: names, a colon, and what is said of them.
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): +(?=\S)")


def restructured(lines, link=None):
    """reStructuredText, a list of lines, of a docstring's dedented lines."""
    writer = prose.Restructured(link)
    made = []
    for title, body in _sections(lines):
        body = [re.sub(r"::$", ":", line) for line in body]
        if title:
            made += [writer.strong(title), "", *_section(_dedented(body), writer), ""]
        else:
            made += prose.write(body, writer)
    return made


def _sections(lines):
    """Pairs of a section's title (None: what is in none) and its lines, as they are."""
    title, body = None, []
    for line in lines:
        match = SECTION.match(line)
        ends = title and line.strip() and not line.startswith(" ")
        if match or ends:
            yield title, body
            title, body = (match.group(1), []) if match else (None, [line])
        else:
            body.append(line)
    yield title, body


def _dedented(lines):
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]


def _section(lines, writer):
    """Entries, if it has any, else text."""
    entries = []
    for line in lines:
        match = ENTRY.match(line)
        if match:
            entries.append((match.group(1), [line[match.end() :]]))
        elif not entries:
            return prose.write(lines, writer)
        elif line.startswith(" ") or not line.strip():
            entries[-1][1].append(line)
        else:
            entries[-1][1][-1] += " " + line
    return writer.definitions(
        [
            (_names(names, writer), prose.write(_described(words), writer)[:-1])
            for names, words in entries
        ]
    )


def _names(names, writer):
    return ", ".join(writer.code(name) for name in names.split(", "))


def _described(words):
    """What is said of an entry: its further lines lose the indent that tells them from entries."""
    return [words[0], *_dedented(words[1:])]
