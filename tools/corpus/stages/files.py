"""Files that exist only when they are whole, and the tables (.tsv.gz) of the corpus."""

import contextlib
import gzip
import io
import json
import os
from pathlib import Path


class CorpusError(Exception):
    """What went wrong, in one sentence for the user."""


@contextlib.contextmanager
def whole(path):
    """A binary file beside `path` that takes its place when the block ends without an exception."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path):
    """A text file, gzipped if its name ends in .gz; the same text gives the same bytes."""
    with whole(path) as raw:
        if not str(path).endswith(".gz"):
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
            yield text
            text.detach()  # flushes, and leaves the file open
            return
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text:
                yield text


def write_json(path, value):
    """`value` as indented JSON."""
    with writing(path) as out:
        out.write(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_text(path):
    """The text of a file, gzipped or not; what is not UTF-8 is read as Latin-1."""
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def write_table(path, rows):
    """Rows of strings, tab between; returns how many there were."""
    count = 0
    with writing(path) as out:
        for row in rows:
            out.write("\t".join(row) + "\n")
            count += 1
    return count


def read_table(path, columns):
    """Yields the rows of a table of so many columns; a line that has others is an error."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as table:
            for number, line in enumerate(table, 1):
                row = line.rstrip("\n").split("\t")
                if len(row) != columns:
                    raise CorpusError(
                        f"{path}, line {number}: {len(row)} columns, expected {columns}"
                    )
                yield row
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); delete it to make it again") from None
