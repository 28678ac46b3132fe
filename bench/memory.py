#!/usr/bin/env python3
"""What a call needs beyond the caller's tensors: 8 heads against 262 144 keys, output only.

    python bench/memory.py               64 queries, and a slice of causal self-attention
    python bench/memory.py --quick       fewer keys, to see that it runs

All tensors are written before the call. The kernel is then told to forget the process's peak
(/proc/self/clear_refs), and the peak after the call less what was resident before it is what the
call took: scratch, stacks of threads, and whatever else. Each case runs in a process of its own.
The status is 1 if a case needs 64 MiB or more. Linux only.
"""

import argparse
import ctypes
import subprocess
import sys
from pathlib import Path

import libattn
import numpy as np
import report

HEADS, WIDTH = 8, 64
LIMIT = 64 << 20

# name: queries, causal. With causal the queries are the last of a sequence that attends to itself.
CASES = {"few queries": (64, False), "slice of self-attention": (512, True)}


def resident(field):
    """VmRSS (now) or VmHWM (the peak) in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status: no {field}")


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def beyond(call):
    """The peak of a call, in bytes, beyond what was resident before it."""
    # What was freed earlier goes back to the kernel: the call would find it and seem to need less.
    ctypes.CDLL(None).malloc_trim(0)
    forget_peak()
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


def normal(length):
    """[1, HEADS, length, WIDTH], every page of it written."""
    array = np.empty((1, HEADS, length, WIDTH), np.float32)
    random = np.random.default_rng(length)
    for head in array[0]:  # in place: no temporary of the whole size
        random.standard_normal(out=head, dtype=np.float32)
    return array


def measure(options):
    """Runs one case; prints bytes beyond the tensors and bytes of scratch."""
    n_query, causal = CASES[options.case]
    query, key, value = normal(n_query), normal(options.keys), normal(options.keys)
    output = np.ones_like(query)
    context = libattn.Library(options.library).context(options.threads, options.isa)
    problem = libattn.problem(query, key, value, output, mask=libattn.mask(causal))

    peak = beyond(lambda: context.forward(problem))
    if not np.all(np.isfinite(output)):
        sys.exit(f"{options.case}: the output is not finite")
    print(peak, context.scratch_bytes())


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--library", type=Path, default=libattn.LIBRARY, help="libattn.so (build/libattn.so)")
    add("--isa", default="best", help="libattn's instruction set, at most")
    add("--threads", type=int, default=report.cpu_count(), help="(all)")
    add("--keys", type=int, default=262144, help="keys of a head (262144)")
    add("--quick", action="store_true", help="4096 keys: only shows that it runs")
    add("--markdown", action="store_true")
    add("--case", choices=CASES, help=argparse.SUPPRESS)  # set for the process of one case
    options = parser.parse_args()
    if options.quick:
        options.keys = 4096
    return options


def run_case(case):
    """measure() in a fresh process, with the same options."""
    command = [sys.executable, *sys.argv, "--case", case]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return map(int, printed.split())


def main():
    options = parse()
    if options.case:
        measure(options)
        return
    library = libattn.Library(options.library)
    isa = library.context(options.threads, options.isa).isa()
    report.print_about(report.about(library, isa, ("numpy",)), options.markdown)

    rows, most = [], 0
    for case, (n_query, _) in CASES.items():
        peak, scratch = run_case(case)
        most = max(most, peak)
        tensors = 4 * HEADS * WIDTH * 2 * (n_query + options.keys)
        cells = [f"{n / 2**20:.2f}" for n in (tensors, peak, scratch)]
        title = f"{case}: {HEADS} heads x {n_query} x {options.keys} x {WIDTH}"
        rows.append((title, str(options.threads), *cells, "met" if peak < LIMIT else "MISSED"))
    header = ("problem", "threads", "tensors, MiB", "beyond, MiB", "scratch, MiB", "goal < 64")
    report.print_table(header, rows, options.markdown)
    if most >= LIMIT:
        sys.exit("a case needs 64 MiB or more beyond its tensors")


if __name__ == "__main__":
    main()
