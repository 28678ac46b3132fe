#!/usr/bin/env python3
"""Time and memory of rxnmapper as it comes and with libattn's attention, in turn, in one process.

    measure.py [--threads N] [--quick] [--markdown]

For batches of single reactions and of joined ones of some 500 tokens:

    whole      from reaction SMILES to mapped reactions
    model      tokens and the twelve layers
    attention  scores, softmax and weighted values of the twelve layers: an attention module's time
               less that of its projections and its norm, which are the same code in both
    memory     the process's peak beyond what was resident before, in a process of its own

Times are medians over the rounds; a ratio is rxnmapper's over libattn's, the median of the rounds'.
Above 1, libattn is faster, or needs less.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import libattn_mapper
import memory
import report
import torch
from samples import long, typical
from timing import LEAST_ROUNDS

STAGES = ("whole", "model", "attention")
# Of an attention module: their time is not attention's.
PARTS = ("query", "key", "value", "dense", "LayerNorm")


class Clock:
    """Adds up the time of some modules while a mapper works."""

    def __init__(self, modules):
        self.seconds = 0.0
        for module in modules:
            module.register_forward_pre_hook(self.start)
            module.register_forward_hook(self.stop)

    def start(self, *_):
        self.seconds -= time.perf_counter()

    def stop(self, *_):
        self.seconds += time.perf_counter()


class Contender:
    def __init__(self, mapper):
        self.mapper = mapper
        attention = mapper.model.encoder.albert_layer_groups[0].albert_layers[0].attention
        theirs = getattr(attention, "theirs", attention)
        self.whole = Clock([attention])
        self.parts = Clock([getattr(theirs, name) for name in PARTS])
        self.convert, mapper.convert_batch_to_attns = mapper.convert_batch_to_attns, self.timed

    def timed(self, *arguments, **options):
        start = time.perf_counter()
        weights = self.convert(*arguments, **options)
        self.model = time.perf_counter() - start
        return weights

    def measure(self, reactions):
        """Seconds of each stage."""
        self.whole.seconds = self.parts.seconds = 0.0
        start = time.perf_counter()
        self.mapper.get_attention_guided_atom_maps(reactions)
        whole = time.perf_counter() - start
        return whole, self.model, self.whole.seconds - self.parts.seconds


def make(name, options):
    """rxnmapper as it comes, or with libattn; both with the same number of threads."""
    torch.set_num_threads(options.threads)
    if name == "rxnmapper":
        return libattn_mapper.RXNMapper()
    return libattn_mapper.Mapper(options.library, options.threads)


def batches(mapper, quick):
    yield "1 single", typical(1)
    yield "32 single", typical(32)
    for count in (1, 4 if quick else 32):
        yield f"{count} joined", long(count, mapper)


def rounds(contenders, reactions, seconds):
    """The contenders' stages, a list of rounds; the first of them is warm-up and left out."""
    measured, end = [], time.perf_counter() + seconds
    while len(measured) <= LEAST_ROUNDS or time.perf_counter() < end:
        order = list(enumerate(contenders))
        turn = [(i, c.measure(reactions)) for i, c in order[:: 1 - 2 * (len(measured) % 2)]]
        measured.append([stages for _, stages in sorted(turn)])
    return measured[1:]


def peak(options):
    """In a process of its own: the bytes that one batch takes at its peak."""
    mapper = make(options.memory_of, options)
    reactions = dict(batches(mapper, options.quick))[options.batch]
    mapper.get_attention_guided_atom_maps(typical(1))
    print(memory.beyond(lambda: mapper.get_attention_guided_atom_maps(reactions)))


def peak_of(name, batch):
    command = [sys.executable, *sys.argv, "--memory-of", name, "--batch", batch]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows(batch, measured):
    """Lines of the table: a stage each, then memory."""
    for stage, name in enumerate(STAGES):
        theirs, ours = ([r[i][stage] for r in measured] for i in range(2))
        ratio = statistics.median(a / b for a, b in zip(theirs, ours))
        times = [f"{statistics.median(t) * 1e3:.4g} ms" for t in (theirs, ours)]
        yield (f"{batch}, {name}", *times, f"{ratio:.2f}")
    theirs, ours = (peak_of(name, batch) for name in ("rxnmapper", "libattn"))
    sizes = [f"{size / 2**20:.1f} MiB" if size >= 2**20 else "< 1 MiB" for size in (theirs, ours)]
    yield (f"{batch}, memory", *sizes, f"{theirs / ours:.2f}" if ours >= 2**20 else "")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn_mapper.libattn.LIBRARY, help="libattn.so")
    add("--threads", type=int, default=1, help="of both (1)")
    add("--seconds", type=float, default=10.0, help="for each batch, at least (10)")
    add("--quick", action="store_true", help="fewer rounds, smaller batch: only shows that it runs")
    add("--markdown", action="store_true")
    add("--memory-of", choices=("rxnmapper", "libattn"), help=argparse.SUPPRESS)
    add("--batch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.0
    return options


def main():
    options = parse()
    if options.memory_of:
        peak(options)
        return
    contenders = [Contender(make(name, options)) for name in ("rxnmapper", "libattn")]
    library = libattn_mapper.libattn.Library(options.library)
    facts = report.about(library, library.context(1).isa(), ("rxnmapper", "transformers", "torch"))
    report.print_about(facts | {"threads": options.threads}, options.markdown)
    table = []
    for batch, reactions in batches(contenders[0].mapper, options.quick):
        table += rows(batch, rounds(contenders, reactions, options.seconds))
    report.print_table(("batch", "rxnmapper", "libattn", "ratio"), table, options.markdown)


if __name__ == "__main__":
    main()
