"""The modules of tools/corpus, and files made by hand for them to read."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "corpus"
sys.path.insert(0, str(TOOLS))


def catalogue(messages, order="<", header="Content-Type: text/plain; charset=UTF-8\n"):
    """A .mo file: the magic number, revision, count, two offset tables, then the strings."""
    entries = [("", header), *messages]
    encoding = header.partition("charset=")[2].strip() or "utf-8"
    texts = [(m.encode(), t.encode(encoding)) for m, t in entries]
    tables, strings = [], b""
    start = 28 + 16 * len(texts)
    for side in (0, 1):
        for pair in texts:
            tables.append(struct.pack(order + "2I", len(pair[side]), start + len(strings)))
            strings += pair[side] + b"\0"
    count = len(texts)
    head = struct.pack(order + "7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + b"".join(tables) + strings


def put(path, content):
    """Writes text or bytes, with the folders above; .gz files are packed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def table(path):
    """The rows of a .tsv.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


@pytest.fixture
def command(tmp_path):
    """command("make", argument, ...): the finished process, with its text."""

    def run(name, *arguments, **options):
        return subprocess.run(
            [sys.executable, str(TOOLS / name), *map(str, arguments)],
            capture_output=True, text=True, timeout=120, cwd=tmp_path, **options,
        )  # fmt: skip

    return run
