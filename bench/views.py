#!/usr/bin/env python3
"""What views of the weights cost: beside the output alone, and beside PyTorch's explicit weights.

    python bench/views.py                  all lengths
    python bench/views.py --quick          tiny sizes, to see that everything runs
    python bench/views.py --memory         the peak of one call with sums, 16 heads of 16384 x 16384

Width 64, float32, no mask. A ratio is the median over the rounds of this entry's time over the
first entry's in the same round. Before a view is timed, it is compared on a smaller problem with
what the formula in float64 gives, within a bound that follows from the weights' (bench/formula.py).
Missed goals are printed as missed; a wrong view ends the run with status 1.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import libattn
import memory
import numpy as np
import report
import torch
from entries import Entry, compare
from formula import TINY, attention, gamma

WIDTH = 64
TOP = 8
WINDOW = 32


@dataclass(frozen=True)
class Shape:
    """Queries and keys of each head."""

    heads: int
    n_query: int
    n_key: int

    def __str__(self):
        return f"{self.heads} heads x {self.n_query} queries x {self.n_key} keys x {WIDTH}"

    def inputs(self):
        random = np.random.default_rng(0)
        lengths = (self.n_query, self.n_key, self.n_key)
        return [
            random.standard_normal((1, self.heads, n, WIDTH), dtype=np.float32) for n in lengths
        ]

    def per_query(self, columns, dtype=np.float32):
        return np.zeros((1, self.heads, self.n_query, columns), dtype)

    def per_key(self):
        return np.zeros((1, self.heads, 1, self.n_key), np.float32)


SHAPES = (Shape(16, 2048, 2048), Shape(4, 8192, 8192), Shape(2, 2048, 65536))
LONG = 65536  # from here on the goals of sums and entropy are wider
SMALL = Shape(2, 100, 300)

# Each view: the fields of attn_views and the goal at up to 8192 keys.
VIEWS = {
    "received": (lambda s: {"received_sum": s.per_key()}, 1.1),
    "window": (lambda s: {"window_sum": s.per_key(), "window_queries": WINDOW}, 1.1),
    "entropy": (lambda s: {"entropy": s.per_query(1)}, 1.1),
    "argmax": (lambda s: {"argmax": s.per_query(1, np.int32)}, 1.1),
    "top-8": (
        lambda s: {"top_weights": s.per_query(TOP), "top_keys": s.per_query(TOP, np.int32)},
        1.3,
    ),
    "full": (lambda s: {"weights": s.per_query(s.n_key)}, 1.4),
}
SEVERAL = ("received", "window", "entropy", "argmax", "top-8")


def fields_of(names, shape):
    return {name: value for view in names for name, value in VIEWS[view][0](shape).items()}


class Call:
    """A call with the output and some views."""

    def __init__(self, context, shape, names=()):
        self.context, self.inputs = context, shape.inputs()
        self.output, self.results = np.zeros_like(self.inputs[0]), fields_of(names, shape)
        views = libattn.views(**self.results) if names else None
        self.problem = libattn.problem(*self.inputs, self.output, views=views)

    def run(self, repeats):
        for _ in range(repeats):
            self.context.forward(self.problem)


def sums(exact, rows):
    """Over queries: the sum, and the bound of one in float32."""
    weights, bound = exact.weights[rows], exact.weights_bound[rows]
    return weights.sum(0), bound.sum(0) + gamma(len(weights)) * (weights + bound).sum(0)


def entropy(exact):
    """-w log w is off by what w is, times |log w| + 1 to first order, and as much again for what is
    beyond; a logarithm is 4 u off, relative and absolute; the sum's n additions cost gamma(n), and
    blocks that are rescaled, as in the softmax, another n."""
    weights, bound = exact.weights, exact.weights_bound
    logarithm = np.abs(np.log(weights + TINY)) + 1
    terms = 2 * bound * logarithm + gamma(2 * weights.shape[1] + 8) * weights * logarithm
    return -(weights * np.log(weights + TINY)).sum(1), terms.sum(1)


def ranks(exact, k):
    """The k greatest weights: a rank moves by no more than the largest error in its row."""
    greatest = -np.sort(-exact.weights, axis=1)[:, :k]
    return greatest, np.broadcast_to(exact.weights_bound.max(1, keepdims=True), greatest.shape)


def keys_are_right(keys, exact):
    """Each key listed has, but for rounding, the weight of its rank."""
    greatest, slack = ranks(exact, keys.shape[1])
    return np.all(np.abs(np.take_along_axis(exact.weights, keys, 1) - greatest) <= 2 * slack)


EXPECTED = {  # of one head: results and their bounds, by field
    "received_sum": lambda exact: sums(exact, slice(None)),
    "window_sum": lambda exact: sums(exact, slice(-WINDOW, None)),
    "entropy": entropy,
    "top_weights": lambda exact: ranks(exact, TOP),
    "weights": lambda exact: (exact.weights, exact.weights_bound),
}


def is_right(name, got, exact):
    if name in ("argmax", "top_keys"):
        return keys_are_right(got, exact)
    result, bound = EXPECTED[name](exact)
    return np.all(np.abs(got.astype(np.float64).reshape(result.shape) - result) <= bound)


def check(context):
    """Every view, of a small problem: all in one call and each alone."""
    for names in ((*VIEWS,), *((name,) for name in VIEWS)):
        call = Call(context, SMALL, names)
        call.run(1)
        arrays = {name: t for name, t in call.results.items() if isinstance(t, np.ndarray)}
        for head in range(SMALL.heads):
            exact = attention(*(t[0, head] for t in call.inputs))
            for name, got in arrays.items():
                if not is_right(name, got[0, head], exact):
                    sys.exit(f"wrong {name}, asked for with {', '.join(names)}")


def limit(name, shape):
    """None where there is no goal."""
    goal = VIEWS[name][1]
    if shape.n_key < LONG:
        return goal
    return 1.6 if goal == 1.1 else None


def beside_output(context, shape, options):
    """Every view beside the output alone, and several at once beside the dearest of them."""
    names = [name for name in VIEWS if name != "full" or shape.n_key < LONG]
    entries = [Entry("output alone", Call(context, shape).run)]
    entries += [
        Entry(name, Call(context, shape, (name,)).run, at_most=limit(name, shape)) for name in names
    ]
    entries.append(Entry("all but full at once", Call(context, shape, SEVERAL).run))
    ratios = dict(zip((e.label for e in entries), compare(str(shape), entries, options)))
    dearest, several = max(ratios[name] for name in SEVERAL), ratios[entries[-1].label]
    verdict = "met" if several <= dearest + 0.1 else "MISSED"
    print(
        f"- all but full at once: {several:.3f}, the dearest of them {dearest:.3f} "
        f"(goal: at most 0.1 more): {verdict}\n",
        flush=True,
    )


class Explicit:
    """PyTorch: the weights as a tensor, the output, and a view of the weights."""

    def __init__(self, shape, view):
        self.query, self.key, self.value = (torch.from_numpy(t) for t in shape.inputs())
        self.view = view

    def run(self, repeats):
        with torch.inference_mode():
            for _ in range(repeats):
                weights = torch.softmax(self.query @ self.key.mT * WIDTH**-0.5, -1)
                self.output = weights @ self.value
                self.result = self.view(weights)


PYTORCH = {
    "received": lambda w: w.sum(-2),
    "window": lambda w: w[..., -WINDOW:, :].sum(-2),
    "entropy": lambda w: -torch.xlogy(w, w).sum(-1),
    "argmax": lambda w: w.argmax(-1),
    "top-8": lambda w: w.topk(TOP, -1),
    "full": lambda w: w,
}


def beside_pytorch(context, shape, options):
    for name, view in PYTORCH.items():
        call = Call(context, shape, (name,))
        explicit = Explicit(shape, view)
        goal = 2.5 if name != "full" else None
        entries = [
            Entry("libattn", call.run),
            Entry("PyTorch, explicit weights", explicit.run, at_least=goal),
        ]
        compare(f"{name}, {shape}", entries, options)


def beyond_tensors(options):
    """Prints what a call with sums takes beyond its tensors, in this process."""
    shape = Shape(16, 1024, 1024) if options.quick else Shape(16, 16384, 16384)
    context = libattn.Library(options.library).context(options.threads, options.isa)
    call = Call(context, shape, ("received", "window"))
    for array in call.results.values():
        if isinstance(array, np.ndarray):
            array.fill(1)  # every page of the results is there before
    call.output.fill(1)
    memory.forget_peak()
    before = memory.resident("VmRSS")
    call.run(1)
    beyond = memory.resident("VmHWM") - before
    explicit = 4 * shape.heads * shape.n_query * shape.n_key
    verdict = "met" if beyond < explicit / 100 else "MISSED"
    print(
        f"- {shape}, received and window sums: {beyond / 2**20:.2f} MiB beyond the tensors, "
        f"{beyond / explicit:.4%} of the {explicit / 2**20:.0f} MiB that the weights alone are "
        f"(goal: less than 1 %): {verdict}"
    )


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so (build/libattn.so)")
    add("--isa", default="best", help="libattn's instruction set, at most; PyTorch is free")
    add("--threads", type=int, default=1, help="of both (1)")
    add("--seconds", type=float, default=1.0, help="for each entry of a table, at least (1)")
    add("--quick", action="store_true", help="tiny sizes and times: only shows that it runs")
    add("--markdown", action="store_true")
    add("--memory", action="store_true", help="memory alone, in this process")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.001
    return options


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    library = libattn.Library(options.library)
    context = library.context(options.threads, options.isa)
    if not options.memory:
        facts = report.about(library, context.isa(), ("torch", "numpy"))
        report.print_about(facts | {"threads": options.threads}, options.markdown)
        if options.quick:
            print("--quick: these figures say nothing about speed\n")
        check(context)
        shapes = [Shape(2, 128, s.n_key // 32) for s in SHAPES] if options.quick else SHAPES
        for shape in shapes:
            beside_output(context, shape, options)
        beside_pytorch(context, shapes[0], options)
        # In a process of its own: this one has had more resident than it needs.
        subprocess.run([sys.executable, *sys.argv, "--memory"], check=True)
    else:
        beyond_tensors(options)


if __name__ == "__main__":
    main()
