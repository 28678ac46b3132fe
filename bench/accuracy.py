#!/usr/bin/env python3
"""How far libattn and the unfused float32 formula are from float64, side by side.

    python bench/accuracy.py             all inputs, five seeds
    python bench/accuracy.py --quick     one seed and short inputs, to see that it runs
    python bench/accuracy.py --isa avx2

The unfused formula is softmax(q k^T / sqrt(d)) v in float32, by PyTorch (MKL) and by numpy
(OpenBLAS). An error is the largest over all elements of the absolute difference from the formula in
float64 on the same float32 inputs. The ratio is libattn's error over the smaller of the two, each
the largest over the seeds; the goal is at most 1. "of bound" is the largest share of the error
bound that bench/formula.py derives; beyond 100 % a result is wrong, and the status is 1.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import contenders  # noqa: F401  first: it clears OpenBLAS's settings before numpy is imported
import libattn
import numpy as np
import report
import torch
from formula import attention

HEADS = 2
RESULTS = ("output", "weights")


@dataclass(frozen=True)
class Inputs:
    """Normally distributed query, key and value; the queries scaled until the largest score of
    a head is `peak`, if one is given. One head's weights in float64 must fit in memory."""

    name: str
    n_query: int
    n_key: int
    d: int
    peak: float = None

    def make(self, seed):
        random = np.random.default_rng(seed)
        lengths = (self.n_query, self.n_key, self.n_key)
        query, key, value = (
            random.standard_normal((1, HEADS, n, self.d), dtype=np.float32) for n in lengths
        )
        if self.peak is not None:
            scores = query.astype(np.float64) @ key.swapaxes(-1, -2) * self.d**-0.5
            query *= self.peak / np.abs(scores).max(axis=(-1, -2), keepdims=True)
        return query.astype(np.float32), key, value

    def __str__(self):
        return f"{self.name}, {self.n_query} x {self.n_key} x {self.d}"


def all_inputs(quick):
    shorter = 32 if quick else 1
    for d in (64, 128):
        yield Inputs("normal", 256, 2048 // shorter, d)
        yield Inputs("wide, scores to 80", 256, 2048 // shorter, d, peak=80)
        yield Inputs("long", 64, 65536 // shorter, d)
        yield Inputs("long, few queries", 4, 65536 // shorter, d)


def by_libattn(context, query, key, value):
    rows = query.shape[:3]
    output = np.zeros((*rows, value.shape[3]), np.float32)
    weights = np.zeros((*rows, key.shape[2]), np.float32)
    context.forward(libattn.problem(query, key, value, output, weights))
    return output, weights


def by_torch(query, key, value):
    query, key, value = (torch.from_numpy(t) for t in (query, key, value))
    weights = torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, -1)
    return (weights @ value).numpy(), weights.numpy()


def by_numpy(query, key, value):
    scores = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ value, weights


def measure(inputs, seed, contestants):
    """For each contestant: (error of output, of weights), (shares of the bound)."""
    tensors = inputs.make(seed)
    computed = [by(*tensors) for by in contestants]
    errors = np.zeros((len(contestants), len(RESULTS)))
    shares = np.zeros_like(errors)
    for head in range(HEADS):
        exact = attention(*(t[0, head] for t in tensors))
        for i, results in enumerate(computed):
            for j, name in enumerate(RESULTS):
                off = np.abs(results[j][0, head].astype(np.float64) - getattr(exact, name))
                bound = getattr(exact, f"{name}_bound")
                errors[i, j] = max(errors[i, j], off.max())
                shares[i, j] = max(shares[i, j], (off / bound).max())
    return errors, shares


def rows_of(inputs, seeds, contestants):
    """One table row a result, and whether everything kept the bound."""
    measured = [measure(inputs, seed, contestants) for seed in range(seeds)]
    errors = np.max([e for e, _ in measured], axis=0)
    shares = np.max([s for _, s in measured], axis=0)
    rows = []
    for j, name in enumerate(RESULTS):
        ratio = errors[0, j] / errors[1:, j].min()
        verdict = "met" if ratio <= 1 else "MISSED"
        cells = [f"{error:.2e}" for error in errors[:, j]]
        rows.append((f"{inputs}", name, *cells, f"{shares[0, j]:.1%}", f"{ratio:.2f}", verdict))
    return rows, bool(np.all(shares <= 1))  # False with a NaN, too


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so (build/libattn.so)")
    add("--isa", default="best", help="libattn's instruction set, at most")
    add("--seeds", type=int, default=5, help="how many (5)")
    add("--quick", action="store_true", help="one seed and short inputs: only shows that it runs")
    add("--markdown", action="store_true")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error("argument --seeds: must be at least 1")
    return options


def main():
    options = parse()
    library = libattn.Library(options.library)
    context = library.context(isa=options.isa)
    facts = report.about(library, context.isa(), ("torch", "numpy"))
    report.print_about(facts, options.markdown)

    contestants = (lambda *t: by_libattn(context, *t), by_torch, by_numpy)
    seeds = 1 if options.quick else options.seeds
    table, right = [], True
    for inputs in all_inputs(options.quick):
        rows, kept = rows_of(inputs, seeds, contestants)
        table += rows
        right = right and kept
    header = ("inputs", "result", "libattn", "PyTorch", "numpy", "of bound", "ratio", "goal <= 1")
    report.print_table(header, table, options.markdown)
    if not right:
        sys.exit("a result is outside the bound of bench/formula.py")


if __name__ == "__main__":
    main()
