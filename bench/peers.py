#!/usr/bin/env python3
"""libattn beside its peers, in one process and in turn.

    python bench/peers.py                    all cases, one thread and all threads
    python bench/peers.py --quick            tiny sizes, to see that everything runs
    python bench/peers.py --cases causal,window --threads 1
    python bench/peers.py --isa avx2         libattn held to an older instruction set
    python bench/peers.py --markdown         tables for a document; --json: an object a line

A case times its contenders call by call in turn. Milliseconds are medians; a ratio is the median
over the rounds of (this contender's time / the first contender's time in the same round), so more
than 1 means that the first, libattn, is faster. The share is of the FMA peak that `attn bench`
measures before and after each case; the largest so far in the run counts. Before it is timed, every
contender's result is compared with the formula in float64, within the bound of bench/formula.py.
Missed goals are printed as missed; a wrong result ends the run with status 1.
"""

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import contenders as c  # first: it clears OpenBLAS's settings before numpy is imported
import libattn
import numpy as np
import report
from formula import attention
from timing import interleave

PEERS = (c.TorchSdpa, c.OnnxMultiHead, c.OnnxAttention, c.TorchUnfused)
PEERS_WITH_WEIGHTS = (c.TorchMath, c.OnnxAttention, c.TorchUnfused)
QUICK_DIVISOR = 16


@dataclass(frozen=True)
class Goal:
    """The first contender's time is to be at most `limit` times that of each of `against`."""

    limit: float
    against: tuple  # indices of entries


@dataclass(frozen=True)
class Case:
    """Entries are timed together; the first is the one that the goals are about."""

    name: str
    what: str  # for the title, after the shape
    entries: tuple  # (label or "" for the contender's name, contender, task)
    goals: tuple = ()
    share: dict = field(default_factory=dict)  # least share of the FMA peak, by instruction set


def against_peers(task, peers, limit):
    """libattn and its peers at one task, and the goal against the best of them."""
    entries = (("", c.LibAttn, task), *(("", peer, task) for peer in peers))
    return entries, Goal(limit, tuple(range(1, len(entries))))


def prefill_cases():
    share = {"avx512": 0.85, "avx2": 0.80}
    for d in (64, 128):
        full = c.Task(1, 16, 2048, 2048, d)
        entries, goal = against_peers(full, PEERS, 1 / 1.2)
        yield Case("full", "full", entries, (goal,), share)

        entries, _ = against_peers(replace(full, causal=True), PEERS, 1)
        own = len(entries)
        entries += (("libattn, full", c.LibAttn, full),)
        yield Case("causal", "causal", entries, (Goal(0.56, (own,)),))

        entries, goal = against_peers(
            replace(full, weights=True), PEERS_WITH_WEIGHTS, 1 / (2 if d == 64 else 1.5)
        )
        own = len(entries)
        entries += (("libattn, output only", c.LibAttn, full),)
        plain = Goal(1.4 if d == 64 else 1.25, (own,))
        yield Case("weights", "with full weights", entries, (goal, plain))


def other_cases():
    entries, goal = against_peers(c.Task(32, 12, 128, 128, 64), PEERS, 1 / 1.2)
    share = {"avx512": 0.62, "avx2": 0.62}
    yield Case("batch", "full", entries, (goal,), share)

    full = c.Task(1, 16, 8192, 8192, 64)
    entries = (
        ("libattn, 256 keys", c.LibAttn, replace(full, window=(255, 0))),
        ("libattn, full", c.LibAttn, full),
    )
    goals = (Goal(1 / 12, (1,)),)
    yield Case("window", "window of 256", entries, goals)

    for length in (8, 32, 128):
        entries, goal = against_peers(c.Task(1, 12, length, length, 64), PEERS, 1)
        yield Case("small", "called from Python", entries, (goal,))


SWEEP_LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048)
SWEEP_BASELINES = (c.UnfusedOpenBlas, c.UnfusedMkl)


def sweep_tasks(quick):
    lengths = (1, 8, 32) if quick else SWEEP_LENGTHS
    for n_query in lengths:
        for n_key in lengths:
            yield c.Task(1, 1, n_query, n_key, 64)
    yield c.Task(1, 1, 1, 8192, 64)


def smaller(task):
    """For --quick: shorter sequences, fewer sequences, the same path through everything."""

    def cut(n):
        return max(1, n // QUICK_DIVISOR)

    window = task.window and tuple(n // QUICK_DIVISOR for n in task.window)
    return replace(
        task, batch=cut(task.batch), n_query=cut(task.n_query), n_key=cut(task.n_key), window=window
    )  # fmt: skip


def check(label, contender, task, inputs):
    """Compares a sample of rows with the formula: a contender that is wrong must not be timed."""
    contender.run(1)
    rows = np.unique(np.linspace(0, task.n_query - 1, 16, dtype=int))
    for b, h in {(0, 0), (task.batch - 1, task.heads - 1)}:
        query, key, value = (t[b, h] for t in inputs)
        exact = attention(query[rows], key, value, visible=task.visible(rows))
        for name in ("output", "weights") if task.weights else ("output",):
            got = np.asarray(getattr(contender, name))[b, h, rows].astype(np.float64)
            error = np.abs(got - getattr(exact, name))
            if not np.all(error <= getattr(exact, f"{name}_bound")):
                sys.exit(f"{label}: wrong {name} for {task!r}: off by {error.max():.3g}")


def set_up(entries, setting, quick):
    """Contenders, ready to run and known to be right; and their labels and tasks."""
    setting.apply()
    ready, arrays = [], {}  # contenders of one shape share their inputs
    for label, make, task in entries:
        task = smaller(task) if quick else task
        shape = replace(task, causal=False, window=None, weights=False)
        if shape not in arrays:
            arrays[shape] = task.inputs()
        contender = make(task, setting, arrays[shape])
        label = label or contender.name
        check(label, contender, task, arrays[shape])
        ready.append((label, contender, task))
    return ready


class Peak:
    """The FMA peak in GFLOP/s by `attn bench`: the largest seen so far in this run, since whatever
    disturbs a measurement makes it smaller. NaN without the command."""

    def __init__(self, options, threads):
        self.command = [options.attn, "bench", "--json", "--shape", "1,1,1,64,64,64"]
        self.command += ["--threads", str(threads)]
        self.command += ["--isa", options.isa] if options.isa != "best" else []
        self.gflops = 0.0 if options.attn.is_file() else math.nan

    def measure(self):
        if not math.isnan(self.gflops):
            done = subprocess.run(self.command, check=True, capture_output=True, text=True)
            measured = json.loads(done.stdout.splitlines()[0])["peak_gflops"]
            self.gflops = max(self.gflops, measured)


def verdicts(case, results, isa):
    """One sentence a goal, with what was reached."""
    for goal in case.goals:
        best = min((results[i] for i in goal.against), key=lambda r: r["ratio"])
        met = 1 / best["ratio"] <= goal.limit
        yield (
            f"{1 / best['ratio']:.3f} of the time of {best['contender']}, "
            f"{best['ratio']:.2f} times as fast (goal: at most {goal.limit:.3f} of the time): "
            f"{'met' if met else 'MISSED'}"
        )
    if isa in case.share and not math.isnan(results[0]["share_of_peak"]):
        share = results[0]["share_of_peak"]
        yield (
            f"{share:.1%} of the FMA peak (goal: at least {case.share[isa]:.0%}): "
            f"{'met' if share >= case.share[isa] else 'MISSED'}"
        )


def run_case(case, options, setting, peak):
    ready = set_up(case.entries, setting, options.quick)
    isa = ready[0][1].context.isa()
    peak.measure()
    times = interleave([r.run for _, r, _ in ready], options.seconds, setting.threads > 1)
    peak.measure()

    results = []
    for (label, contender, task), time in zip(ready, times):
        gflops = task.flops() / time.median() / 1e9
        results.append({
            "case": f"{ready[0][2]}, {case.what}",
            "threads": setting.threads,
            "contender": label,
            "layout": contender.layout,
            "milliseconds": time.median() * 1e3,
            "ratio": time.ratio(times[0]),
            "gflops": gflops,
            "peak_gflops": peak.gflops,
            "share_of_peak": gflops / peak.gflops,
            "rounds": len(time.rounds),
        })  # fmt: skip
    sentences = list(verdicts(case, results, isa))
    if options.json:
        for result in results:
            unmeasured = math.isnan(result["peak_gflops"])  # JSON has no NaN
            nulls = dict.fromkeys(("peak_gflops", "share_of_peak")) if unmeasured else {}
            print(json.dumps(result | nulls))
        goals = {"case": results[0]["case"], "threads": setting.threads, "goals": sentences}
        print(json.dumps(goals), flush=True)
    else:
        print_case(results, sentences, options.markdown)


def print_case(results, sentences, markdown):
    title, threads = results[0]["case"], results[0]["threads"]
    print("### " * markdown + f"{title}, {threads} thread{'s' * (threads > 1)}\n")
    header = ("contender", "ms", "ratio", "GFLOP/s", "of peak", "layout")
    rows = [
        (
            r["contender"],
            f"{r['milliseconds']:.4g}",
            f"{r['ratio']:.3g}",
            f"{r['gflops']:.1f}",
            "-" if math.isnan(r["share_of_peak"]) else f"{r['share_of_peak']:.1%}",
            r["layout"],
        )
        for r in results
    ]
    report.print_table(header, rows, markdown)
    for sentence in sentences:
        print(f"- {sentence}")
    print(flush=True)


def run_sweep(options, setting):
    """libattn against the unfused formula, both called from C, one head of width 64."""
    results = []
    for task in sweep_tasks(options.quick):
        entries = [("", make, task) for make in (c.LibAttnFromC, *SWEEP_BASELINES)]
        ready = set_up(entries, setting, quick=False)
        times = interleave([r.run for _, r, _ in ready], options.seconds, setting.threads > 1)
        for (label, _, _), time in zip(ready[1:], times[1:]):
            results.append({
                "case": "sweep",
                "threads": setting.threads,
                "n_query": task.n_query,
                "n_key": task.n_key,
                "baseline": label,
                "libattn_microseconds": times[0].median() * 1e6,
                "baseline_microseconds": time.median() * 1e6,
                "ratio": time.ratio(times[0]),
            })  # fmt: skip
            if options.json:
                print(json.dumps(results[-1]), flush=True)
    if not options.json:
        print_sweep(results, options.markdown)


def print_sweep(results, markdown):
    threads = results[0]["threads"]
    print(
        "### " * markdown + f"unfused by BLAS / libattn, 1 head x n_query x n_key x 64, "
        f"{threads} thread{'s' * (threads > 1)}, called from C; the better BLAS counts\n"
    )
    least = {}
    for r in results:
        cell = (r["n_query"], r["n_key"])
        if cell not in least or r["ratio"] < least[cell]["ratio"]:
            least[cell] = r
    keys = sorted({n_key for _, n_key in least})
    rows = [
        [str(n)] + [f"{least[n, m]['ratio']:.3g}" if (n, m) in least else "" for m in keys]
        for n in sorted({n_query for n_query, _ in least})
    ]
    report.print_table(["n_query \\ n_key", *map(str, keys)], rows, markdown)
    slower = [r for r in least.values() if r["ratio"] < 1]
    for r in slower:
        print(
            f"- slower than {r['baseline']} at {r['n_query']} x {r['n_key']}: "
            f"{r['libattn_microseconds']:.2f} us against {r['baseline_microseconds']:.2f} us "
            f"(ratio {r['ratio']:.3f})"
        )
    if not slower:
        print(f"- never slower: the least ratio is {min(r['ratio'] for r in least.values()):.3f}")
    print(flush=True)


CASES = ("full", "causal", "weights", "batch", "window", "small", "sweep")


def names(text):
    chosen = text.split(",")
    if unknown := set(chosen) - set(CASES):
        raise argparse.ArgumentTypeError(f"no such case: {unknown.pop()}; there are {CASES}")
    return chosen


def thread_counts(text):
    counts = [int(n) for n in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("thread counts must be at least 1")
    return counts


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so (build/libattn.so)")
    add("--attn", type=Path, default=libattn.ROOT / "build" / "attn", help="the attn command")
    add("--isa", default="best", help="libattn's instruction set, at most; its peers are free")
    add("--threads", type=thread_counts, default=sorted({1, report.cpu_count()}),
        help="counts, comma-separated (1 and all)")  # fmt: skip
    add("--cases", type=names, default=CASES, help=f"of {','.join(CASES)}")
    add("--seconds", type=float, default=1.0, help="for each contender of a case, at least (1)")
    add("--quick", action="store_true", help="tiny sizes and times: only shows that it runs")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 0.001
    return options


def main():
    options = parse()
    library = libattn.Library(options.library)
    isa = library.context(1, options.isa).isa()
    facts = report.about(library, isa, ("torch", "onnxruntime", "numpy"))
    if options.json:
        print(json.dumps(facts))
    else:
        report.print_about(facts, options.markdown)
        if options.quick:
            print("--quick: these figures say nothing about speed\n")
    for threads in options.threads:  # one thread first: before any pool has workers that spin
        setting = c.Setting(library, threads, options.isa)
        peak = Peak(options, threads)
        for case in (*prefill_cases(), *other_cases()):
            if case.name in options.cases:
                run_case(case, options, setting, peak)
        if "sweep" in options.cases:
            run_sweep(options, setting)


if __name__ == "__main__":
    main()
