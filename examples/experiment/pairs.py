"""Pairs of sentences: files of them, their lengths, and long ones made by joining short ones."""

import gzip
import hashlib
import os
import random
from pathlib import Path

# Words of the source, from and to.
BUCKETS = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 30), (31, None))
JOINED_MOST = 50  # words of the longest groups that are joined


class BadInput(Exception):
    """A sentence for whoever called the command."""


def read(path):
    """The pairs of a file: source, tab, target a line, plain or gzip; further columns are left
    out."""
    opened = gzip.open if str(path).endswith(".gz") else open
    rows = []
    try:
        with opened(path, "rt", encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                columns = line.rstrip("\r\n").split("\t")
                if len(columns) < 2 or not columns[0].strip() or not columns[1].strip():
                    raise BadInput(f"{path}:{number}: expected a source, a tab and a target")
                rows.append((columns[0], columns[1]))
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise BadInput(f"{path}: {error}") from error
    if not rows:
        raise BadInput(f"{path}: expected pairs of sentences, found none")
    return rows


def digest(path):
    """The beginning of a file's SHA-256, to know it again."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def write_lines(path, lines):
    """Writes all lines, or leaves what is there as it is. path may end in .gz."""
    partial = path.with_name(path.name + ".partial")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(partial, "wt", encoding="utf-8", newline="\n") as out:
        out.writelines(line + "\n" for line in lines)
    os.replace(partial, path)


def read_lines(path):
    """The lines of a file, cut at newlines alone."""
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [line.rstrip("\r\n") for line in lines]


def thin(rows, most):
    """At most so many, evenly spaced, in their order; most 0: all."""
    if not most or len(rows) <= most:
        return rows
    return [rows[i * len(rows) // most] for i in range(most)]


def words(sentence):
    """How many words: what blanks cut, if a letter or digit is in it. French sets blanks before ?
    and :."""
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def bucket(count):
    """The number of the bucket for a source of so many words; one without any is in the first."""
    return sum(low <= count for low, _ in BUCKETS[1:])


def bucket_name(number):
    """ "6–10"; the last is "31+"."""
    low, high = BUCKETS[number]
    return f"{low}–{high}" if high else f"{low}+"


def join(rows, most, seed=1):
    """Groups of consecutive pairs, joined by blanks. For each bucket but the first, the file is
    walked through once: pairs are taken until the source has a number of words that was drawn
    evenly from the bucket; a group of two or more that does not run over the bucket's end is kept.
    At most `most` for a bucket, evenly spaced; 0: all."""
    made = []
    for number, (low, high) in enumerate(BUCKETS[1:], 1):
        random_ = random.Random(seed * len(BUCKETS) + number)
        high = high or JOINED_MOST
        groups, group, length = [], [], 0
        aim = random_.randint(low, high)
        for row in rows:
            group.append(row)
            length += words(row[0])
            if length < aim:
                continue
            if len(group) > 1 and length <= high:
                groups.append(tuple(" ".join(side) for side in zip(*group)))
            group, length, aim = [], 0, random_.randint(low, high)
        made += thin(groups, most)
    return made
