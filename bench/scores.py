#!/usr/bin/env python3
"""Scores, normalizers and callbacks beside the plain dot product and softmax, and beside PyTorch.

    python bench/scores.py                           every table
    python bench/scores.py --tables additive,scores  some of them
    python bench/scores.py --quick                   tiny sizes, to see that everything runs

Float32, width 64, no mask, with the output alone. A ratio is the median over the rounds of this
entry's time over the first entry's in the same round; in the table of additive scores, whose
entries differ in size, of their times per pair and feature. Before anything is timed, what it
computes is compared with the formula in float64 on a small problem, within a bound explained below.
Missed goals are printed as missed; a wrong result ends the run with status 1.
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import libattn
import numpy as np
import report
import torch
from entries import Entry, compare

WIDTH = 64
TABLE = 63  # entries of a table of relative positions
HEADS, LENGTH = 16, 2048
SMALL = 200  # queries and keys of the problem that results are compared on

UNIT = 2.0**-24


def score_bound(terms):
    """How far a float32 score on the small problem may be from float64: the sizes of its terms add
    up to at most `terms`, and it is made in two sums of at most 64 and 128, so that no term passes
    more than 192 roundings."""
    return 192 * UNIT * terms


# Outputs, where values are below 6 and the sizes of a column's are SMALL together at most, as
# normally distributed ones' are. It is loose, to catch what is wrong; tests/core finds what is
# inaccurate.
#
# Scores, under softmax: terms up to 64 (additive: the sum of the sizes of the vector), weights that
# are off by twice as much of themselves, in a row that sums to one; sums of 2 SMALL roundings.
SCORE_BOUND = (2 * score_bound(64) + 2 * SMALL * UNIT) * 6

# Normalizers, of dot products: terms up to 8. A weight of at most 1 moves by at most twice what
# scores move: softmax by that of itself, sigmoid by a quarter, sparsemax by what score and
# threshold move, entmax by 1/(alpha - 1) w^(2 - alpha) (alpha - 1) times that; ReLU and linear
# weights of at most 8 as their scores, squared ones of at most 64 by 16 of it. Dropout divides
# weights by 0.9.
MOVES = {"relu squared": 16, "softmax, dropout 0.1": 2 / 0.9}
WEIGHS = {"relu squared": 64, "relu": 8, "linear": 8, "softmax, dropout 0.1": 1 / 0.9}


def normalizer_bound(name):
    moved = MOVES.get(name, 2) * score_bound(8)
    return (moved + 2 * SMALL * UNIT * WEIGHS.get(name, 1)) * SMALL


def normal(*shape, scale=1.0, seed=0):
    random = np.random.default_rng(seed)
    return np.float32(scale) * random.standard_normal(shape, dtype=np.float32)


def inputs(heads, length):
    return [normal(1, heads, length, WIDTH, seed=seed) for seed in (1, 2, 3)]


class Call:
    """A call of libattn with the output."""

    def __init__(self, context, heads, length, score=None, normalizer=None):
        self.context, self.inputs = context, inputs(heads, length)
        self.output = np.zeros_like(self.inputs[0])
        self.problem = libattn.problem(
            *self.inputs, self.output, score=score, normalizer=normalizer
        )

    def run(self, repeats):
        for _ in range(repeats):
            self.context.forward(self.problem)


class Torch:
    """formula(query, key, value) by PyTorch, on the same inputs."""

    def __init__(self, formula, heads, length):
        self.formula = formula
        self.inputs = [torch.from_numpy(t) for t in inputs(heads, length)]

    def run(self, repeats):
        with torch.inference_mode():
            for _ in range(repeats):
                self.output = self.formula(*self.inputs)


# --- Additive -------------------------------------------------------------------------------------

VECTOR = normal(1, 1, 1, WIDTH)
TORCH_VECTOR = torch.from_numpy(VECTOR)


def additive_formula(query, key, value):
    """As one writes it: n_query * n_key * WIDTH numbers for a head."""
    hidden = torch.tanh(query[:, :, :, None] + key[:, :, None])
    return torch.softmax((hidden * TORCH_VECTOR).sum(-1), -1) @ value


def additive_table(library, options):
    """PyTorch's sizes are smaller: at the large one its intermediate results would not fit."""
    length, tried = (64, (16, 32)) if options.quick else (LENGTH, (128, 256, 512))
    pairs = HEADS * length**2 * WIDTH
    entries = []
    for isa, rate in (("avx512", 20e9), ("avx2", 8e9), ("neon", None)):
        context = library.context(options.threads, isa)
        if context.isa() == isa:
            call = Call(context, HEADS, length, libattn.score("additive", weight=VECTOR))
            label = f"libattn, {isa}, {length}"
            entries.append(Entry(label, call.run, pairs, rate_at_least=rate))
    compiled = torch.compile(additive_formula, dynamic=False)  # once for each size
    for label, formula, times in (("", additive_formula, 50), (", compiled", compiled, 5)):
        for n in tried:
            peer = Torch(formula, 1, n)
            entries.append(Entry(f"PyTorch{label}, {n}", peer.run, n * n * WIDTH, at_least=times))
    title = f"additive, {HEADS} heads x {length} x {WIDTH} and shorter ones"
    compare(title, entries, options, "G(pair feature)/s")
    print(
        f"- scratch of libattn: {call.context.scratch_bytes() / 2**20:.2f} MiB; "
        f"PyTorch's tanh alone would be {4 * pairs / 2**20:.0f} MiB\n"
    )


# --- Callback -------------------------------------------------------------------------------------

ALIBI = """
#include <attn/attn.h>
#include <math.h>

static void take(float *score, int n, float slope, float distance, float step) {
    for (int i = 0; i < n; i++) score[i] -= slope * fabsf(distance + step * (float)i);
}

void alibi(void *user, const attn_pairs *p) {
    const float *slopes = user;
    float *score = p->data;
    if (p->row_stride == 1)
        for (int c = 0; c < p->keys; c++)
            take(score + c * p->key_stride, p->rows, slopes[p->head],
                 (float)(p->position - p->key - c), 1);
    else
        for (int r = 0; r < p->rows; r++)
            take(score + r * p->row_stride, p->keys, slopes[p->head],
                 (float)(p->position + r - p->key), -1);
}
"""


@cache
def alibi_callback():
    """ALiBi as a user would write it, compiled for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "alibi.c"), Path(folder, "alibi.so")
        source.write_text(ALIBI)
        command = ["cc", "-O3", "-march=native", "-shared", "-fPIC"]
        include = f"-I{libattn.ROOT / 'include'}"
        subprocess.run([*command, include, source, "-o", binary, "-lm"], check=True)
        return ctypes.CDLL(str(binary))


def alibi_slopes(heads):
    """2^(-8/heads) and its powers, as in the paper."""
    return (0.5 ** (8 / heads * np.arange(1, heads + 1, dtype=np.float32))).reshape(1, -1, 1, 1)


def alibi_by_callback(slopes):
    callback = ctypes.cast(alibi_callback().alibi, libattn.PAIRS_CALLBACK)
    score = libattn.score(callback=callback, callback_user=slopes.ctypes.data)
    score.kept.append(slopes)
    return score


def callback_table(library, options):
    length = SMALL if options.quick else LENGTH
    context = library.context(options.threads, options.isa)
    slopes = alibi_slopes(HEADS)
    own = Call(context, HEADS, length, alibi_by_callback(slopes))
    entries = [
        Entry(
            "ALiBi, built in", Call(context, HEADS, length, libattn.score(alibi_slopes=slopes)).run
        ),
        Entry("ALiBi, by score.callback", own.run, at_most=1.3),
        Entry("dot alone", Call(context, HEADS, length).run),
    ]
    compare(f"callback, {HEADS} heads x {length} x {WIDTH}", entries, options)


# --- Scores ---------------------------------------------------------------------------------------


def scores(heads, length):
    """Label and score of each, with parameters of every head's own."""

    def draw(*shape, **how):
        return normal(1, heads, *shape, **how)

    relative, slopes = libattn.relative, alibi_slopes(heads)
    keys, queries, values = (draw(TABLE, WIDTH, seed=seed) for seed in (4, 5, 6))
    yield "dot", libattn.score()
    yield "general", libattn.score("general", weight=draw(WIDTH, WIDTH, scale=1 / WIDTH))
    yield "cosine, temperatures", libattn.score("cosine", scales=slopes)
    yield "gaussian", libattn.score("gaussian", scale=1 / WIDTH)
    weight = draw(length, WIDTH, scale=1 / WIDTH)
    yield "location", libattn.score("location", weight=weight)
    yield "additive", libattn.score("additive", weight=VECTOR)
    projection = draw(WIDTH, 2 * WIDTH, scale=1 / WIDTH)
    yield "concat, hidden 64", libattn.score("concat", weight=VECTOR, projection=projection)
    yield "ALiBi", libattn.score(alibi_slopes=slopes)
    yield "ALiBi by callback", alibi_by_callback(slopes)
    yield "soft cap", libattn.score(softcap=30.0)
    yield "T5 bias", libattn.score(relative=relative(buckets=1, bias=draw(1, 32)))
    yield "Shaw, keys", libattn.score(relative=relative(keys=keys))
    yield "Shaw, keys and values", libattn.score(relative=relative(keys=keys, values=values))
    biases = {"content_bias": draw(1, WIDTH), "position_bias": draw(1, WIDTH, seed=7)}
    yield "Transformer-XL", libattn.score(relative=relative(keys=keys, **biases))
    yield "DeBERTa", libattn.score(relative=relative(keys=keys, queries=queries))


def scores_table(library, options):
    length = SMALL if options.quick else LENGTH
    context = library.context(options.threads, options.isa)
    entries = [
        Entry(name, Call(context, HEADS, length, score).run)
        for name, score in scores(HEADS, length)
    ]
    compare(f"scores, {HEADS} heads x {length} x {WIDTH}", entries, options)


# --- Normalizers ----------------------------------------------------------------------------------


def normalizers():
    """Label, arguments and goal: at most so many times softmax."""
    yield "softmax", {}, None
    yield "softmax one", {}, None
    yield "sigmoid", {"bias": -np.log(LENGTH)}, 2.2
    yield "sparsemax", {}, 2.2
    yield "entmax 1.5", {"kind": "entmax"}, 2.2
    yield "entmax 1.25", {"kind": "entmax", "alpha": 1.25}, None
    yield "relu", {}, None
    yield "relu squared", {}, None
    yield "linear", {}, None
    yield "hardmax", {}, None
    yield "softmax, dropout 0.1", {"kind": "softmax", "dropout": 0.1, "seed": 1}, None
    yield "softmax, Gumbel", {"kind": "softmax", "gumbel": True, "seed": 1}, None


def normalizers_table(library, options):
    length = SMALL if options.quick else LENGTH
    context = library.context(options.threads, options.isa)
    entries = [
        Entry(
            name,
            Call(context, HEADS, length, normalizer=make_normalizer(name, fields)).run,
            at_most=goal,
        )
        for name, fields, goal in normalizers()
    ]
    compare(f"normalizers, {HEADS} heads x {length} x {WIDTH}", entries, options)
    fields = {name: fields for name, fields, _ in normalizers()}
    for name, formula in peers():
        call = Call(context, HEADS, length, normalizer=make_normalizer(name, fields[name]))
        peer = Torch(formula, HEADS, length)
        entries = [Entry("libattn", call.run), Entry("PyTorch, explicit scores", peer.run)]
        compare(f"{name}, {HEADS} heads x {length} x {WIDTH}", entries, options)


def make_normalizer(name, fields):
    return libattn.normalizer(**({"kind": name} | fields))


def peers():
    """The same with PyTorch; sparsemax and entmax by the package of their authors."""
    import entmax

    def explicit(normalize):
        return lambda q, k, v: normalize(q @ k.mT * WIDTH**-0.5) @ v

    yield "softmax", explicit(lambda s: torch.softmax(s, -1))
    yield "sigmoid", explicit(lambda s: torch.sigmoid(s - np.log(LENGTH)))
    yield "sparsemax", explicit(lambda s: entmax.sparsemax(s, -1))
    yield "entmax 1.5", explicit(lambda s: entmax.entmax15(s, -1))


# --- Right before fast ----------------------------------------------------------------------------


def reference(library, call):
    """The same call by attn_reference_forward, which is in float64."""
    output = call.output.copy()
    library.check(library.c.attn_reference_forward(ctypes.byref(call.problem)))
    expected = call.output.copy()
    call.output[...] = output
    return expected


def check_close(label, result, expected, bound):
    error = np.abs(result - expected).max()
    if not error <= bound:  # nor with a NaN
        sys.exit(f"{label}: off by {error:.3g}")


def check(library, options):
    """Every score and normalizer that is timed: by libattn, and by PyTorch where it is."""
    context = library.context(options.threads, options.isa)
    calls, bounds = {}, {}
    for name, score in scores(2, SMALL):
        calls[name], bounds[name] = Call(context, 2, SMALL, score), SCORE_BOUND
    for name, fields, _ in normalizers():
        calls[name] = Call(context, 2, SMALL, normalizer=make_normalizer(name, fields))
        bounds[name] = normalizer_bound(name)
    for name, call in calls.items():
        call.run(1)
        check_close(name, call.output, reference(library, call), bounds[name])
    own, built_in = calls["ALiBi by callback"], calls["ALiBi"]
    check_close("ALiBi by callback", own.output, built_in.output, 2 * SCORE_BOUND)
    for name, formula in [*peers(), ("additive", additive_formula)]:
        peer = Torch(formula, 2, SMALL)
        peer.run(1)
        bound = 2 * bounds[name]
        check_close(f"{name} by PyTorch", peer.output.numpy(), calls[name].output, bound)


TABLES = {
    "additive": additive_table,
    "scores": scores_table,
    "normalizers": normalizers_table,
    "callback": callback_table,
}


def names(text):
    chosen = text.split(",")
    if unknown := set(chosen) - set(TABLES):
        raise argparse.ArgumentTypeError(f"no such table: {unknown.pop()}; there are {[*TABLES]}")
    return chosen


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so (build/libattn.so)")
    add("--isa", default="best", help="libattn's instruction set, at most; its peers are free")
    add("--threads", type=int, default=1, help="of all (1)")
    add("--tables", type=names, default=[*TABLES], help=f"of {','.join(TABLES)}")
    add("--seconds", type=float, default=1.0, help="for each entry of a table, at least (1)")
    add("--quick", action="store_true", help="tiny sizes and times: only shows that it runs")
    add("--markdown", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.001
    return options


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    library = libattn.Library(options.library)
    isa = library.context(options.threads, options.isa).isa()
    facts = report.about(library, isa, ("torch", "entmax", "numpy"))
    report.print_about(facts | {"threads": options.threads}, options.markdown)
    if options.quick:
        print("--quick: these figures say nothing about speed\n")
    check(library, options)
    for name in options.tables:
        TABLES[name](library, options)


if __name__ == "__main__":
    main()
