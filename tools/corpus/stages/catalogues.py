"""Pairs of message and translation in the .mo files of programs (GNU gettext's catalogues)."""

import html
import re
import struct
from pathlib import Path

from .document import Block, Document
from .files import CorpusError

FRENCH_CATALOGUE = re.compile(r"(^|/)fr(_FR)?(\.UTF-8)?/LC_MESSAGES/[^/]+\.mo$")


def entries(data, name="catalogue"):
    """Yields (message, translation) as bytes, in the file's order, from its two offset tables."""
    if len(data) < 20:
        raise CorpusError(f"{name}: {len(data)} bytes, expected a .mo file")
    order = {0x950412DE: "<", 0xDE120495: ">"}.get(struct.unpack("<I", data[:4])[0])
    if order is None:
        raise CorpusError(f"{name}: not a .mo file (its first four bytes are not its magic number)")
    revision, count, messages, translations = struct.unpack(order + "4I", data[4:20])
    if revision >> 16 > 1 or max(messages, translations) + 8 * count > len(data):
        raise CorpusError(f"{name}: not a .mo file that can be read (tables beyond its end)")
    for index in range(count):
        pair = []
        for table in (messages, translations):
            length, start = struct.unpack_from(order + "2I", data, table + 8 * index)
            if start + length > len(data):
                raise CorpusError(f"{name}: message {index} lies beyond the end of the file")
            pair.append(data[start : start + length])
        yield tuple(pair)


def charset(header):
    """The encoding that a catalogue's header names."""
    found = re.search(rb"charset=([\w.:-]+)", header)
    name = found.group(1).decode() if found else "utf-8"
    return "utf-8" if name.upper() in ("CHARSET", "UTF-8") else name


ENTITY_OR_MARK = re.compile(r"&(?=\w)(?!#?\w{1,8};)")


def without_accelerator(text):
    """The text without the mark of the letter that a menu's entry is reached by (&, _ or ~)."""
    text = ENTITY_OR_MARK.sub("", text)
    for mark in "_~":
        if text.count(mark) == 1:
            text = re.sub(rf"{mark}(?=\w)(?!\w*/)", "", text) if _marks(text, mark) else text
    return text


def _marks(text, mark):
    """Whether the only mark in the text names a letter: not a name_of_two_words, not ~/.profile."""
    before, after = text.split(mark)
    if not after[:1].isalpha():
        return False
    return mark == "~" or not before[-1:].isalnum() or (len(text.split()) < 5 and " " in text)


TAG = re.compile(r"</?[A-Za-z][\w:-]*(\s[^<>]*)?/?>")


def plain(text):
    """A message without tags, entities, accelerators and escapes."""
    text = TAG.sub(lambda tag: "\n\n" if re.match(r"</?(p|br|li|ul|div)\b", tag[0]) else "", text)
    text = without_accelerator(html.unescape(text))
    return text.replace("\\n", "\n").replace("\\t", " ").replace('\\"', '"')


def paragraphs(text):
    """Blocks of a message: parted by empty lines, and where a line begins an item or an option."""
    parts = re.split(r"\n\s*\n|\n(?=\s*[-*•]\s)|\n(?=\s+-)", plain(text))
    return [Block("text", " ".join(part.split())) for part in parts if part.strip()]


def pairs(data, name="catalogue"):
    """Yields (French, English) texts of a catalogue: no header, no context, singular and plural."""
    encoding = "utf-8"
    for message, translation in entries(data, name):
        if not message:
            encoding = charset(translation)
            continue
        try:
            message, translation = message.decode("utf-8"), translation.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue  # a foreign message, or a wrong header: nothing that could be trusted
        message = message.rpartition("\x04")[2]
        english, french = message.split("\0"), translation.split("\0")
        yield french[0], english[0]
        if len(english) == 2 and len(french) == 2:
            yield french[1], english[1]


def extract(unpacked):
    """One document for each message: messages have no order."""
    for path in sorted(Path(unpacked).rglob("*.mo")):
        relative = str(path.relative_to(unpacked))
        if not FRENCH_CATALOGUE.search(relative):
            continue
        for french, english in pairs(path.read_bytes(), relative):
            if " " in english and french and french != english:
                yield Document(relative, paragraphs(french), paragraphs(english))
