#!/usr/bin/env python3
"""Packed matrices (attn_nn_pack) beside the BLAS: one linear layer, forward, with few and many rows.

    python bench/packed.py                 all sizes, one thread
    python bench/packed.py --quick         tiny sizes, to see that everything runs

The layers are those of the shipped model: the output over 8000 subwords, and both halves of a feed-forward. Rows
are what a step of a search has: a sentence's hypotheses, up to those of a hundred sentences. Both sides are the
same call, attn_nn_linear_forward, on one thread, in turn. Before they are timed, they are compared with
the product in float64, within the bound of as many roundings as there are terms.
"""

import argparse
import ctypes as c
from pathlib import Path

import libattn_nn
import numpy as np
import report
import timing
from formula import gamma

LAYERS = ((8000, 256), (1024, 256), (256, 1024))
ROWS = (1, 2, 5, 16, 40, 128, 640)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--library", default=root / "build" / "libattn_nn.so", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each side of each size")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no figures to speak of")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    return parser.parse_args()


class Product:
    """One layer in a walk, with panels or without."""

    def __init__(self, library, out, inner):
        self.library = library
        self.layout = libattn_nn.Layout()
        self.layer = library.linear_make(c.byref(self.layout), b"layer", inner, out, True)
        self.walk = libattn_nn.Walk(library, self.layout)
        random = np.random.default_rng(0)
        self.walk.values[:] = random.standard_normal(self.layout.size, dtype=np.float32)
        self.packed = library.pack(
            c.byref(self.layout), self.walk.values.ctypes.data, self.walk.context.handle
        )
        if not self.packed:
            raise MemoryError

    def close(self):
        self.library.packed_free(self.packed)
        self.library.layout_free(c.byref(self.layout))

    def run(self, x, packed, repeats):
        walk, forward = self.walk, self.library.linear_forward
        walk.c.packed = self.packed if packed else None
        arguments = c.byref(walk.c), c.byref(self.layer), x.ctypes.data, len(x)
        for _ in range(repeats):
            with walk.mark():
                forward(*arguments)

    def check(self, x, packed):
        walk, layer = self.walk, self.layer
        walk.c.packed = self.packed if packed else None
        with walk.mark():
            at = self.library.linear_forward(c.byref(walk.c), c.byref(layer), x.ctypes.data, len(x))
            y = walk.result(at, len(x), layer.out)
        named = libattn_nn.named(self.layout, walk.values.astype(np.float64))
        weight, bias, x = (
            named["layer.weight"],
            named["layer.bias"],
            x.astype(np.float64),
        )
        error = np.abs(y - (x @ weight.T + bias))
        bound = gamma(x.shape[1] + 1) * (np.abs(x) @ np.abs(weight.T) + np.abs(bias))
        if not (error <= bound).all():
            raise SystemExit(f"packed={packed}: wrong by {error.max():.3g}")


def gigaflops(times, rows, out, inner):
    return f"{2 * rows * out * inner / times.median() / 1e9:.0f}"


def main():
    options = parse()
    library = libattn_nn.Library(options.library)
    isa = library.core.context(1).isa()
    report.print_about(report.about(library.core, isa, ("numpy",)), options.markdown)
    if options.quick:
        print("--quick: these figures say nothing about speed\n")
    for out, inner in ((70, 16),) if options.quick else LAYERS:
        product, lines = Product(library, out, inner), []
        for rows in ROWS[:3] if options.quick else ROWS:
            x = np.random.default_rng(rows).standard_normal((rows, inner), dtype=np.float32)
            for packed in (False, True):
                product.check(x, packed)
            blas, panels = timing.interleave(
                [lambda n, run=product.run, p=p, x=x: run(x, p, n) for p in (False, True)],
                0.01 if options.quick else options.seconds, settle=False,
            )  # fmt: skip
            lines.append([str(rows), gigaflops(blas, rows, out, inner),
                          gigaflops(panels, rows, out, inner), f"{blas.ratio(panels):.2f}"])  # fmt: skip
        print(f"{inner} to {out}")
        report.print_table(["rows", "BLAS, GFLOP/s", "packed", "ratio"], lines, options.markdown)
        product.close()


if __name__ == "__main__":
    main()
