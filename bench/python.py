#!/usr/bin/env python3
"""The Python package beside PyTorch's own attention: whole calls from Python, float32.

    python bench/python.py              lengths 128 to 4096, overhead, layers in turn, gradients
    python bench/python.py --quick      tiny: only shows that it runs

Contenders take turns within one process (timing.py). "attention" is one call; "layer" is a linear layer,
attention and another linear layer one right after the other, as models do: there threads of two runtimes
would take each other's cores, which shows as processor time beyond threads x time. "with weights" is
beside the way that PyTorch has: its products and softmax, one by one. Overhead is a call of one query and
four keys.
"""

import argparse
import time

import attn
import attn.torch
import numpy as np
import report
import torch
from timing import interleave
from torch.nn import functional as F

LENGTHS = (128, 256, 512, 1024, 2048, 4096)
HEADS, WIDTH = 12, 64


def eager(q, k, v):
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return weights @ v, weights


def view(q, k, v):
    return attn.torch.scaled_dot_product_attention(q, k, v, views="received_sum")


def weights(q, k, v):
    return attn.torch.scaled_dot_product_attention(q, k, v, return_weights=True)


def repeated(function, *arguments):
    def run(repeats):
        for _ in range(repeats):
            function(*arguments)

    return run


def trained(function, q, k, v):
    inputs = [t.clone().requires_grad_() for t in (q, k, v)]
    flowing = torch.ones_like(q)

    def run(repeats):
        for _ in range(repeats):
            with torch.enable_grad():
                output = function(*inputs)
                torch.autograd.grad(output, inputs, flowing)

    return run


def layer(function, x, first, last):
    def run(repeats):
        for _ in range(repeats):
            q, k, v = first(x).unflatten(-1, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
            last(function(q, k, v).transpose(1, 2).flatten(2))

    return run


def ratios(title, contenders, options):
    """A row: the median of the first in ms, and how many times as long the others take."""
    times = interleave(list(contenders.values()), options.seconds, settle=True)
    first, *others = times
    return [title, f"{first.median() * 1e3:.3f}", *(f"{t.ratio(first):.2f}" for t in others)]


def attention_table(options):
    rows = []
    for n in options.lengths:
        q, k, v = (torch.randn(1, HEADS, n, WIDTH) for _ in range(3))
        rows.append(ratios(str(n), {
            "attn": repeated(attn.torch.scaled_dot_product_attention, q, k, v),
            "sdpa": repeated(F.scaled_dot_product_attention, q, k, v),
            "attn, view": repeated(view, q, k, v),
            "attn, weights": repeated(weights, q, k, v),
            "eager": repeated(eager, q, k, v),
        }, options))  # fmt: skip
    header = ["keys", "attn, ms", "sdpa", "attn + received_sum", "attn + weights", "eager weights"]
    print(f"Attention, 1 x {HEADS} x n x {WIDTH}; times as long as attn:\n")
    report.print_table(header, rows, options.markdown)


def layer_table(options):
    rows = []
    for n in options.lengths:
        x = torch.randn(1, n, HEADS * WIDTH)
        first, last = (
            torch.nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH),
            torch.nn.Linear(HEADS * WIDTH, HEADS * WIDTH),
        )
        runs = {
            "attn": layer(attn.torch.scaled_dot_product_attention, x, first, last),
            "sdpa": layer(F.scaled_dot_product_attention, x, first, last),
        }
        row = ratios(str(n), runs, options)
        rows.append(row + [processor_share(run, options) for run in runs.values()])
    header = ["tokens", "attn, ms", "sdpa", "attn: processors used", "sdpa: processors used"]
    print(
        f"Linear, attention, linear ({report.cpu_count()} processors, {torch.get_num_threads()} threads):\n"
    )
    report.print_table(header, rows, options.markdown)


def processor_share(run, options):
    """Processor time over time: above the number of threads, some of them are in the way."""
    wall, busy = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < options.seconds / 2:
        run(3)
    return f"{(time.process_time() - busy) / (time.perf_counter() - wall):.2f}"


def gradient_table(options):
    rows = []
    for n in options.lengths:
        tensors = [torch.randn(1, HEADS, n, WIDTH) for _ in range(3)]
        rows.append(ratios(str(n), {
            "attn": trained(attn.torch.scaled_dot_product_attention, *tensors),
            "sdpa": trained(F.scaled_dot_product_attention, *tensors),
            "eager": trained(lambda *t: eager(*t)[0], *tensors),
        }, options))  # fmt: skip
    print("Forward and backward:\n")
    report.print_table(["keys", "attn, ms", "sdpa", "eager"], rows, options.markdown)


def overhead_table(options):
    a = np.ones((1, 1, 1, 4), np.float32)
    keys = np.ones((1, 1, 4, 4), np.float32)
    t, tk = torch.from_numpy(a), torch.from_numpy(keys)
    runs = {
        "attn.attention (NumPy)": repeated(attn.attention, a, keys, keys),
        "attn.torch": repeated(attn.torch.scaled_dot_product_attention, t, tk, tk),
        "torch sdpa": repeated(F.scaled_dot_product_attention, t, tk, tk),
    }
    times = interleave(list(runs.values()), options.seconds, settle=False)
    rows = [[name, f"{x.median() * 1e6:.2f}"] for name, x in zip(runs, times)]
    print("One query, four keys:\n")
    report.print_table(["call", "µs"], rows, options.markdown)


TABLES = {
    "attention": attention_table,
    "layer": layer_table,
    "gradients": gradient_table,
    "overhead": overhead_table,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--threads", type=int, default=report.cpu_count())
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender in each case")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.lengths, options.seconds = (16,), 0.02
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    report.print_about(
        report.about(Package, attn.Context().isa, ["torch", "numpy"]), options.markdown
    )
    for name in options.tables:
        TABLES[name](options)


class Package:
    """What report.about asks a library."""

    @staticmethod
    def version():
        return attn.__version__


if __name__ == "__main__":
    main()
