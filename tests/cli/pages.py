"""What attn show writes, read back: pages and their numbers, PNG pictures."""

import base64
import html.parser
import json
import re
import struct
import zlib

import numpy as np


class Tags(html.parser.HTMLParser):
    """Collects the scripts by id, the attributes, and whether tags close as they open."""

    VOID = {"meta", "br", "link", "img", "input"}

    def __init__(self, text):
        super().__init__()
        self.stack, self.scripts, self.attributes, self.balanced = [], {}, [], True
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "script":
            self.current = dict(attributes).get("id", "program")
            assert self.current not in self.scripts
            self.scripts[self.current] = ""

    def handle_endtag(self, tag):
        self.balanced &= bool(self.stack) and self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts[self.current] += data


class Page:
    """The facts in `data`, and the numbers of each head as the page's script would see them."""

    def __init__(self, scripts):
        self.scripts, self.data = scripts, json.loads(scripts["data"])

    def bytes(self, name, layer, head):
        return base64.b64decode(self.scripts[f"{name}.{layer}.{head}"])

    def names(self):
        """The parts that the first head has."""
        return sorted(n.split(".")[0] for n in self.scripts if n.endswith(".0.0"))

    def weights(self):
        layers, heads = len(self.data["layers"]), len(self.data["heads"])
        parts = [self.bytes("weights", i, j) for i in range(layers) for j in range(heads)]
        shape = (layers, heads, self.data["queries"], self.data["keys"])
        return np.frombuffer(b"".join(parts), "<f4").reshape(shape)

    def packed(self, name, layer, head, size):
        """The numbers, and the step between two that can be told apart."""
        raw = self.bytes(name, layer, head)
        low, high = np.frombuffer(raw[:8], "<f4").astype(float)
        shares = np.frombuffer(raw[8:], f"<u{size}").astype(float)
        step = (high - low) / (256**size - 2)
        return np.where(shares == 256**size - 1, np.nan, low + shares * step), step

    def keys(self, name, layer, head):
        raw = self.bytes(name, layer, head)
        size = self.data["key_bytes"]
        keys = np.frombuffer(raw, f"<u{size}").astype(np.int64)
        return np.where(keys == 256**size - 1, -1, keys)


def read(path):
    text = open(path, encoding="ascii").read()
    tags = Tags(text)
    assert tags.balanced and not tags.stack
    # Nothing is loaded: no address, no file, no style from elsewhere. The empty icon keeps browsers
    # from asking a server for one.
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttp", text)
    loaded = [a for a in tags.attributes if a[0] in ("src", "href", "srcset", "action")]
    assert loaded == [("href", "data:,")]
    return Page(tags.scripts)


def decode_png(path):
    """8-bit RGB, not interlaced, all five filters."""
    raw = open(path, "rb").read()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + size]
        assert (
            zlib.crc32(kind + body) == struct.unpack(">I", raw[at + 8 + size : at + 12 + size])[0]
        )
        chunks[kind] = chunks.get(kind, b"") + body
        at += 12 + size
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, interlaced) == (8, 2, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), "u1").reshape(height, 1 + 3 * width)
    image = np.zeros((height, width, 3), int)
    for y in range(height):
        image[y] = unfilter(
            lines[y, 0],
            lines[y, 1:].reshape(width, 3).astype(int),
            image[y - 1] if y else 0 * image[0],
        )
    return image


def unfilter(kind, line, above):
    if kind == 0:
        return line
    if kind == 2:
        return (line + above) % 256
    out, left, corner = np.zeros_like(line), np.zeros(3, int), np.zeros(3, int)
    for x in range(len(line)):
        p = left + above[x] - corner
        a, b, c = abs(p - left), abs(p - above[x]), abs(p - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above[x], corner))
        guess = {1: left, 3: (left + above[x]) // 2, 4: paeth}[int(kind)]
        out[x] = (line[x] + guess) % 256
        left, corner = out[x], above[x]
    return out
