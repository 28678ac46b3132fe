"""One source after another through the stages, and all of them into the corpus.

Every stage leaves one file, which is there only when it is whole, and is not made again then."""

import hashlib
import json
import multiprocessing
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

from . import align, filter as keep
from .document import read_documents, write_documents
from .download import Apt, unpack
from .files import CorpusError, read_table, write_json, write_table, writing
from .licences import licences
from .sources import BY_NAME
from .split import deduplicate, split


TABLES = ("train", "dev", "test", "all-train")


def say(text):
    """A line of progress."""
    print(text, flush=True)


class Folder:
    """Where everything lies below the output folder."""

    def __init__(self, path):
        self.path = Path(path)
        self.work = self.path / "work"
        self.apt = self.work / "apt"
        self.packages = self.work / "packages"

    def unpacked(self, source):
        """The folder of a source's unpacked packages, each in its own."""
        return self.work / "unpacked" / source

    def stage(self, stage, source, ending="tsv.gz"):
        """The file that a stage makes of a source."""
        return self.work / stage / f"{source}.{ending}"


def tool_digest():
    """What tells one version of this tool from another."""
    digest = hashlib.blake2b(digest_size=16)
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def forget_other_tools(folder):
    """Removes what another version of the tool made; what was downloaded stays."""
    stamp, digest = folder.work / "tool", tool_digest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    for stage in ("unpacked", "extracted", "aligned", "filtered"):
        if (folder.work / stage).exists():
            say(f"{stage}: made by another version of this tool, to be made again")
            shutil.rmtree(folder.work / stage)
    (folder.work / "made.json").unlink(missing_ok=True)
    with writing(stamp) as out:
        out.write(digest)


def download(folder, source, apt):
    """Fetches and unpacks the packages of a source."""
    for name in source.packages:
        package = apt.download(name, folder.packages)
        unpack(package, re.compile(source.wanted), folder.unpacked(source.name) / name)


def extract(folder, source):
    """Documents of both languages."""
    out = folder.stage("extracted", source.name, "jsonl.gz")
    if not out.exists():
        lists = folder.apt / "lists"
        count = write_documents(out, source.extract(folder.unpacked(source.name), lists))
        say(f"{source.name}: extracted {count} documents")


def align_source(folder, source):
    """Pairs of sentences."""
    out = folder.stage("aligned", source.name)
    if not out.exists():
        documents = read_documents(folder.stage("extracted", source.name, "jsonl.gz"))
        say(f"{source.name}: aligned {write_table(out, align.pairs(documents))} pairs of sentences")


def filter_source(folder, source):
    """The pairs that are kept, and counts of what was not."""
    out = folder.stage("filtered", source.name)
    counts = folder.stage("filtered", source.name, "json")
    if out.exists() and counts.exists():
        return
    count = Counter()
    rows = read_table(folder.stage("aligned", source.name), 2)
    count["filtered"] = write_table(out, keep.filtered(rows, count))
    write_json(counts, count)
    say(f"{source.name}: kept {count['filtered']} pairs, before repetitions are dropped")


def prepare(job):
    """Everything for one source that needs no other; runs in a process of its own."""
    path, name = job
    folder, source = Folder(path), BY_NAME[name]
    extract(folder, source)
    align_source(folder, source)
    filter_source(folder, source)
    return name


def _ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children, by SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def prepare_all(folder, names, jobs):
    """Prepares the sources, so many at a time."""
    work = [(str(folder.path), name) for name in names]
    if jobs == 1:
        for job in work:
            prepare(job)
        return
    with multiprocessing.Pool(jobs, _ignore_interrupts) as pool:
        for _ in pool.imap_unordered(prepare, work):
            pass


def merge(folder, names):
    """Rows (French, English, clean, source) without repetitions, and counts by source."""
    rows, counts = [], {}
    for name in names:
        found = read_table(folder.stage("filtered", name), 3)
        rows += [(*row, name) for row in found]
        counts[name] = json.loads(folder.stage("filtered", name, "json").read_text())
    rows = deduplicate(rows)
    for name in names:
        own = [row for row in rows if row[3] == name]
        count = counts[name]
        count["pairs"], count["clean"] = len(own), sum(row[2] == "1" for row in own)
        count["share of numbers that agree"] = round(
            count.get("numbers agree", 0) / max(1, count.get("fitting", 0)), 4
        )
    return rows, counts


def check(names, counts):
    """Sentences about the counts that are out of their source's range."""
    wrong = []
    for name in names:
        source, count = BY_NAME[name], counts[name]
        for what, (least, most) in (("pairs", source.kept), ("clean", source.clean)):
            if not least <= count[what] <= most:
                wrong.append(f"{name}: {count[what]} {what}, expected {least} to {most}")
        share = count["share of numbers that agree"]
        if share < source.agree:
            wrong.append(
                f"{name}: numbers agree in {share:.1%} of the pairs, expected {source.agree:.1%}"
            )
    return wrong


def report(names, counts):
    """Prints a line for each source, and the sum."""
    say(f"{'source':14} {'aligned':>9} {'pairs':>9} {'clean':>9}  numbers agree")
    for name in names:
        c = counts[name]
        share = c["share of numbers that agree"]
        say(f"{name:14} {c['aligned']:9} {c['pairs']:9} {c['clean']:9}  {share:.1%}")
    sums = [sum(counts[name][what] for name in names) for what in ("aligned", "pairs", "clean")]
    say(f"{'together':14} {sums[0]:9} {sums[1]:9} {sums[2]:9}")


def write_corpus(folder, names, rows, counts):
    """The files of the corpus, counts.json last."""
    parts, dropped = split(rows)
    clean = [row for row in parts["train"] if row[2] == "1"]
    tables = dict(zip(TABLES, (clean, parts["dev"], parts["test"], parts["train"])))
    for name, table in tables.items():
        write_table(folder.path / f"{name}.tsv.gz", (row[:2] for row in table))
        say(f"{name}.tsv.gz: {len(table)} pairs")
    with writing(folder.path / "LICENCES") as out:
        out.write(licences(folder, [BY_NAME[name] for name in names]))
    by_source = {name: Counter(row[3] for row in table) for name, table in tables.items()}
    splits = {name: {"pairs": len(t), "by source": by_source[name]} for name, t in tables.items()}
    write_json(
        folder.path / "counts.json", {"sources": counts, "splits": splits, "dropped": dropped}
    )


def made_of(folder, names):
    """What the corpus depends on: the sources, and sums over their pairs."""
    return {
        name: hashlib.blake2b(folder.stage("filtered", name).read_bytes()).hexdigest()
        for name in names
    }


def merge_and_write(folder, names):
    """The corpus from its sources' pairs, unless it is here; returns the counts by source."""
    made, record, counts = (
        made_of(folder, names),
        folder.work / "made.json",
        folder.path / "counts.json",
    )
    outputs = [folder.path / f"{table}.tsv.gz" for table in TABLES]
    whole = record.exists() and counts.exists() and all(path.exists() for path in outputs)
    if whole and json.loads(record.read_text()) == made:
        say("corpus: here already")
        return json.loads(counts.read_text())["sources"]
    record.unlink(missing_ok=True)
    rows, by_source = merge(folder, names)
    write_corpus(folder, names, rows, by_source)
    write_json(record, made)
    return by_source


def make(path, names, jobs):
    """The whole corpus; a count out of its range is an error, after everything is written."""
    folder = Folder(path)
    apt = Apt(folder.apt)
    forget_other_tools(folder)
    say("indexes: fetched" if apt.update() else "indexes: here already")
    for name in names:
        source = BY_NAME[name]
        if source.packages and not folder.stage("extracted", name, "jsonl.gz").exists():
            download(folder, source, apt)
            say(f"{name}: {len(source.packages)} packages are here")
    prepare_all(folder, names, jobs)
    counts = merge_and_write(folder, names)
    report(names, counts)
    wrong = check(names, counts)
    if wrong:
        raise CorpusError("counts out of range:\n  " + "\n  ".join(wrong))
