#!/usr/bin/env python3
"""Forward and backward of libattn beside PyTorch's autograd, in one process and in turn.

    python bench/backward.py                       every table, one thread and all threads; memory
    python bench/backward.py --quick               tiny sizes, to see that everything runs
    python bench/backward.py --tables full,additive --threads 1

Float32. An entry is a call forward, with output and log-sum-exp kept, and one backward, to the
gradients of every input. A ratio is the median over the rounds of this entry's time over the first
entry's in the same round. GFLOP/s count 14 operations for each visible pair and feature: 4 forward,
10 backward; the share is of the FMA peak that `attn bench` measures before and after a table, the
largest so far in the run. Before a table is timed, each way to its gradients is compared on a
smaller problem with autograd in float64, within a bound that bench/formula.py derives. Missed goals
are printed as missed; a wrong gradient ends the run with status 1.
"""

import argparse
import copy
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import peers  # first: it clears OpenBLAS's settings before numpy is imported
import libattn
import memory
import numpy as np
import report
import torch
from contenders import Setting
from entries import Entry, compare
from formula import gamma, slope_bound

SMALL = 100  # queries and keys of the problem that gradients are compared on
MEMORY_HEADS, MEMORY_WIDTH = 8, 64


@dataclass(frozen=True)
class Task:
    """Self-attention of one sequence. bias: its shape; results: what gradients flow in of."""

    heads: int
    length: int
    d: int
    kv_heads: int = 0  # as many as heads
    causal: bool = False
    kind: str = "dot"
    bias: tuple = None
    results: tuple = ("output",)

    def __str__(self):
        keys = f" on {self.kv_heads} of keys" if self.kv_heads else ""
        return f"{self.heads} heads{keys} x {self.length} x {self.d}"

    def flops(self):
        pairs = self.length * (self.length + 1) // 2 if self.causal else self.length**2
        return 14 * self.d * pairs * self.heads

    def shapes(self):
        rows, kv_heads = (1, self.heads, self.length, self.d), self.kv_heads or self.heads
        shapes = {"query": rows, "key": (1, kv_heads, *rows[2:]), "value": (1, kv_heads, *rows[2:])}
        if self.kind == "additive":
            shapes["weight"] = (1, 1, 1, self.d)
        if self.bias:
            shapes["bias"] = tuple(self.length if n == "n" else n for n in self.bias)
        return shapes

    def inputs(self):
        random = np.random.default_rng(1)
        made = {name: random.standard_normal(shape, dtype=np.float32)
                for name, shape in self.shapes().items()}  # fmt: skip
        if "weight" in made:
            made["weight"] *= np.float32(self.d**-0.5)  # scores as large as others
        return made

    def flows(self):
        """dL/d(results)."""
        random, rows = np.random.default_rng(2), (1, self.heads, self.length)
        shapes = {"output": (*rows, self.d), "weights": (*rows, self.length),
                  "received_sum": (1, self.heads, 1, self.length)}  # fmt: skip
        return {name: random.standard_normal(shapes[name], dtype=np.float32)
                for name in self.results}  # fmt: skip

    def formula(self, query, key, value, weight=None, bias=None):
        """By PyTorch, the results in order: its own function where that gives them all."""
        if self.kind == "dot" and self.results == ("output",):
            sdpa = torch.nn.functional.scaled_dot_product_attention
            grouped = {"enable_gqa": True} if self.kv_heads else {}
            return (sdpa(query, key, value, bias, is_causal=self.causal, **grouped),)
        if self.kind == "additive":
            scores = torch.tanh(query[:, :, :, None] + key[:, :, None]) @ weight[0, 0, 0]
        else:
            scores = query @ key.mT * self.d**-0.5
        weights = torch.softmax(scores, -1)
        made = {"output": weights @ value, "weights": weights,
                "received_sum": weights.sum(-2, keepdim=True)}  # fmt: skip
        return tuple(made[name] for name in self.results)


class LibAttn:
    """A context, a task, and whether to go forward, backward or both."""

    def __init__(self, context, task, forward=True, backward=True):
        self.context, self.ways = context, (forward, backward)
        inputs, self.flows = task.inputs(), task.flows()
        self.output = np.ones_like(inputs["query"])
        lse = np.ones((1, task.heads, task.length, 1), np.float32)
        self.gradients = {name: np.ones_like(x) for name, x in inputs.items()}
        terms = {name: inputs[name] for name in ("weight", "bias") if name in inputs}
        qkv = [inputs[name] for name in ("query", "key", "value")]
        self.problem = libattn.problem(
            *qkv, self.output, lse=lse, score=libattn.score(task.kind, **terms),
            mask=libattn.mask(task.causal),
        )  # fmt: skip
        self.from_results = libattn.result_gradients(**self.flows)
        self.to_inputs = libattn.input_gradients(**self.gradients)
        if not forward:
            context.forward(self.problem)  # the backward alone reads what it left

    def run(self, repeats):
        forward, backward = self.ways
        for _ in range(repeats):
            if forward:
                self.context.forward(self.problem)
            if backward:
                self.context.backward(self.problem, self.from_results, self.to_inputs)


class Torch:
    """The same by autograd; formula: what stands for task.formula, as a compiled one. threads: told
    before each run, if the entries of a table differ in it."""

    def __init__(self, task, formula=None, dtype=torch.float32, threads=None):
        self.formula, self.threads = formula or task.formula, threads
        self.inputs = {name: torch.from_numpy(x).to(dtype).requires_grad_()
                       for name, x in task.inputs().items()}  # fmt: skip
        self.flows = [torch.from_numpy(x).to(dtype) for x in task.flows().values()]

    def run(self, repeats):
        if self.threads:
            torch.set_num_threads(self.threads)
        for _ in range(repeats):
            made = self.formula(**self.inputs)
            self.found = torch.autograd.grad(made, list(self.inputs.values()), self.flows)

    @property
    def gradients(self):
        return dict(zip(self.inputs, (x.numpy() for x in self.found)))


# --- Right before fast ----------------------------------------------------------------------------


def sizes_and_derivatives(task, t):
    """S, and J^ by each input that scores are made of, as an operation on what it is summed with.

    With X the sizes of the terms of an argument, tanh is off by g X (1 - tanh^2) + g, and its
    derivative 1 - tanh^2 by twice that."""
    query, key = t["query"], t["key"].repeat(task.heads // t["key"].shape[1], 1)
    if task.kind == "additive":
        weight, argument = np.abs(t["weight"][0, 0, 0]), query[:, :, :, None] + key[:, :, None]
        x = np.abs(query)[:, :, :, None] + np.abs(key)[:, :, None]
        m = 1 + x * (1 - np.tanh(argument) ** 2)
        slopes = (1 + 2 * m) * weight
        return m @ weight, {
            "query": lambda e: np.einsum("bhij,bhijc->bhic", e, slopes),
            "key": lambda e: np.einsum("bhij,bhijc->bhjc", e, slopes),
            "weight": lambda e: np.einsum("bhij,bhijc->c", e, 1 + m).reshape(1, 1, 1, -1),
        }
    query, key = np.abs(query), np.abs(key)
    scale = task.d**-0.5
    sizes = scale * query @ key.swapaxes(-1, -2) + np.abs(t.get("bias", 0))
    return sizes, {
        "query": lambda e: scale * e @ key,
        "key": lambda e: scale * e.swapaxes(-1, -2) @ query,
        "bias": lambda e: e,
    }


def summed_like(x, shape):
    """Sums over the dimensions that `shape` broadcasts, and over the heads that share keys."""
    if x.shape[1] > shape[1] > 1 or shape[1] == 1 < x.shape[1]:
        x = x.reshape(x.shape[0], shape[1], -1, *x.shape[2:]).sum(2)
    for axis, n in enumerate(shape):
        if n == 1 < x.shape[axis]:
            x = x.sum(axis, keepdims=True)
    return x


def bounds(task):
    """How far each gradient in float32 may be off. Roundings: 64 of functions and scaling; sums of d
    for scores and for G; of length for rows, their rescaling, and the mean; and of the pairs that an
    element of a gradient sums over (parameters: all)."""
    t, d = ({n: x.astype(np.float64) for n, x in made.items()}
            for made in (task.inputs(), task.flows()))  # fmt: skip
    n, value = task.length, np.abs(t["value"]).repeat(task.heads // t["value"].shape[1], 1)
    parameters = task.bias or task.kind == "additive"
    shared = task.heads * n * (n if parameters else 1)
    roundings = 64 + 3 * task.d + 4 * n

    tensors = {name: torch.from_numpy(x) for name, x in t.items()}
    everything = replace(task, results=("weights",), bias=None)
    bias = tensors.pop("bias", None)
    weights = everything.formula(**tensors)[0].numpy()
    if bias is not None or task.causal:
        scores = np.log(weights) + (0 if bias is None else bias.numpy())
        if task.causal:
            scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)

    of_weights = sum(np.abs(d[name]) for name in ("weights", "received_sum") if name in d)
    flow = np.abs(d["output"]) if "output" in d else np.zeros_like(value)
    of_weights = of_weights + flow @ value.swapaxes(-1, -2)
    sizes, derivatives = sizes_and_derivatives(task, t)
    off = slope_bound(weights, sizes, of_weights, roundings, shared)
    result = {name: summed_like(of(off), t[name].shape) for name, of in derivatives.items()
              if name in t}  # fmt: skip
    g = gamma(roundings)
    relative = np.expm1(2 * g * sizes.max(axis=-1, keepdims=True) + 3 * g + gamma(shared))
    moved = (weights * relative).swapaxes(-1, -2) @ flow
    return result | {"value": summed_like(moved, t["value"].shape)}


def smaller(task):
    """The problem that gradients are compared on. A bound grows with the number of pairs that are
    summed over, and tells less where J^ is much more than the derivative, as for additive scores."""
    if task.kind == "additive":
        return replace(task, heads=2, length=32)
    return replace(task, length=SMALL)


def check(context, task, formulas=()):
    """Each way to the gradients of a smaller problem; exits with status 1 if one is wrong."""
    task = smaller(task)
    exact = Torch(task, dtype=torch.float64)
    exact.run(1)
    bound = bounds(task)
    for contender in (LibAttn(context, task), Torch(task), *(Torch(task, f) for f in formulas)):
        contender.run(1)
        for name, expected in exact.gradients.items():
            error = np.abs(contender.gradients[name].astype(np.float64) - expected)
            if not np.all(error <= bound[name]):
                who = type(contender).__name__
                sys.exit(f"{who}: wrong gradient of {name} for {task!r}: off by {error.max():.3g}")


# --- Tables ---------------------------------------------------------------------------------------


class Run:
    """What the tables of one number of threads share."""

    def __init__(self, library, options, threads):
        self.options, self.threads = copy.copy(options), threads
        self.options.threads = threads
        self.library = library
        self.context = library.context(threads, options.isa)
        self.peak = peers.Peak(options, threads)
        Setting(library, threads, options.isa).apply()

    def length(self, n):
        return max(32, n // 16) if self.options.quick else n

    def title(self, text):
        return f"{text}, {self.threads} thread{'s' * (self.threads > 1)}"

    def entry(self, label, contender, task, **goal):
        return Entry(label, contender.run, flops=task.flops(), **goal)

    def beside_pytorch(self, what, task, label, *more):
        """libattn beside PyTorch, and further entries beside both."""
        check(self.context, task)
        entries = [self.entry("libattn", LibAttn(self.context, task), task),
                   self.entry(label, Torch(task), task), *more]  # fmt: skip
        compare(self.title(f"{what}, {task}"), entries, self.options, peak=self.peak)


def full_table(run):
    for d in (64, 128):
        task = Task(16, run.length(2048), d)
        causal = replace(task, causal=True)
        check(run.context, causal)
        one_way = [LibAttn(run.context, task, *ways) for ways in ((True, False), (False, True))]
        run.beside_pytorch(
            "forward and backward", task, "PyTorch SDPA",
            run.entry("libattn, causal", LibAttn(run.context, causal), causal, at_most=0.6),
            run.entry("PyTorch SDPA, causal", Torch(causal), causal),
            Entry("libattn, forward alone", one_way[0].run, flops=task.flops() * 4 / 14),
            Entry("libattn, backward alone", one_way[1].run, flops=task.flops() * 10 / 14),
        )  # fmt: skip


def causal_table(run):
    for d in (64, 128):
        run.beside_pytorch("causal", Task(16, run.length(2048), d, causal=True), "PyTorch SDPA")


def bias_table(run):
    for bias in ((1, 16, "n", "n"), (1, 1, "n", "n"), (1, 16, 1, "n")):
        task = Task(16, run.length(2048), 64, bias=bias)
        plain = replace(task, bias=None)
        shape = " x ".join(map(str, bias))
        run.beside_pytorch(
            f"bias [{shape}] and its gradient", task, "PyTorch SDPA",
            run.entry("libattn, no bias", LibAttn(run.context, plain), plain),
        )  # fmt: skip


def weights_table(run):
    for result in ("weights", "received_sum"):
        task = Task(16, run.length(2048), 64, results=("output", result))
        plain = replace(task, results=("output",))
        run.beside_pytorch(
            f"output and {result}", task, "PyTorch, explicit weights",
            run.entry("libattn, output alone", LibAttn(run.context, plain), plain),
        )  # fmt: skip


def additive_table(run):
    """G(pair feature)/s, forward and backward: what an operation is differs."""
    task = Task(8, run.length(512), 64, kind="additive")
    compiled = torch.compile(task.formula, dynamic=False)
    check(run.context, task, (compiled,))
    work = task.heads * task.length**2 * task.d
    contenders = {
        "libattn": LibAttn(run.context, task),
        "PyTorch": Torch(task),
        "PyTorch, compiled": Torch(task, compiled),
    }
    entries = [Entry(label, x.run, work) for label, x in contenders.items()]
    compare(run.title(f"additive, {task}"), entries, run.options, "G(pair feature)/s")


def scaling_table(run):
    """One head of keys for all queries: there is one task a head of keys, unless keys are cut."""
    if run.threads == 1:
        return
    task = Task(32, run.length(2048), 64, kv_heads=1)
    check(run.context, task)
    entries = []
    for threads in (1, run.threads):
        context, named = run.library.context(threads, run.options.isa), f"{threads} threads"
        entries.append(run.entry(f"libattn, {named}", LibAttn(context, task), task))
    entries += [run.entry(f"PyTorch SDPA, {threads} threads", Torch(task, threads=threads), task)
                for threads in (1, run.threads)]  # fmt: skip
    compare(f"scaling, {task}", entries, run.options, peak=run.peak)
    torch.set_num_threads(run.threads)


TABLES = {
    "full": full_table,
    "causal": causal_table,
    "bias": bias_table,
    "weights": weights_table,
    "additive": additive_table,
    "scaling": scaling_table,
}

# --- Memory ---------------------------------------------------------------------------------------


def beyond_tensors(case, options, length):
    """Prints what forward and backward take beyond tensors and gradients, and scratch, in bytes."""
    task = Task(MEMORY_HEADS, length, MEMORY_WIDTH)
    context = libattn.Library(options.library).context(max(options.threads), options.isa)
    torch.set_num_threads(max(options.threads))
    contender = LibAttn(context, task) if case == "libattn" else Torch(task)
    memory.forget_peak()
    before = memory.resident("VmRSS")
    contender.run(1)
    beyond = memory.resident("VmHWM") - before
    if case != "libattn":  # libattn's output and gradients were there before the call
        beyond -= 4 * contender.gradients["query"].nbytes
    print(beyond, context.scratch_bytes())


def memory_table(options):
    """Each in a process of its own: this one has had more resident than it needs."""
    length = 1024 if options.quick else 65536
    rows = []
    tensors = 4 * MEMORY_HEADS * MEMORY_WIDTH * length
    for case in ("libattn", "PyTorch SDPA"):
        command = [sys.executable, *sys.argv, "--memory-case", case]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            rows.append((case, f"{8 * tensors / 2**20:.0f}", f"failed: {done.returncode}", ""))
            continue
        beyond, scratch = (f"{int(n) / 2**20:.2f}" for n in done.stdout.split())
        rows.append((case, f"{8 * tensors / 2**20:.0f}", beyond, scratch * (case == "libattn")))
    title = f"memory, {MEMORY_HEADS} heads x {length} x {MEMORY_WIDTH}"
    print("### " * options.markdown + f"{title}, {max(options.threads)} threads\n")
    header = ("", "tensors and gradients, MiB", "beyond, MiB", "scratch, MiB")
    report.print_table(header, rows, options.markdown)


# --- Command --------------------------------------------------------------------------------------


def names(text):
    chosen = text.split(",")
    if unknown := set(chosen) - {*TABLES, "memory"}:
        known = [*TABLES, "memory"]
        raise argparse.ArgumentTypeError(f"no such table: {unknown.pop()}; there are {known}")
    return chosen


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so (build/libattn.so)")
    add("--attn", type=Path, default=libattn.ROOT / "build" / "attn", help="the attn command")
    add("--isa", default="best", help="libattn's instruction set, at most; PyTorch is free")
    add("--threads", type=peers.thread_counts, default=sorted({1, report.cpu_count()}),
        help="counts, comma-separated (1 and all)")  # fmt: skip
    known = [*TABLES, "memory"]
    add("--tables", type=names, default=known, help=f"of {','.join(known)}")
    add("--seconds", type=float, default=1.0, help="for each entry of a table, at least (1)")
    add("--quick", action="store_true", help="tiny sizes and times: only shows that it runs")
    add("--markdown", action="store_true")
    add("--memory-case", help=argparse.SUPPRESS)  # set for the process of one case
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.001
    return options


def main():
    options = parse()
    if options.memory_case:
        beyond_tensors(options.memory_case, options, 1024 if options.quick else 65536)
        return
    library = libattn.Library(options.library)
    isa = library.context(1, options.isa).isa()
    report.print_about(report.about(library, isa, ("torch", "numpy")), options.markdown)
    if options.quick:
        print("--quick: these figures say nothing about speed\n")
    for threads in options.threads:  # one thread first: before any pool has workers that spin
        run = Run(library, options, threads)
        for name in options.tables:
            if name in TABLES:
                TABLES[name](run)
    if "memory" in options.tables:
        memory_table(options)


if __name__ == "__main__":
    main()
