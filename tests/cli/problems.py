"""Random problems in files, and their results in files against the oracle's."""

import numpy as np
from oracle import excess

RANDOM = np.random.default_rng(7)


def save(name, array):
    np.save(f"{name}.npy", array)
    return f"{name}.npy"


def problem(batch=2, heads=4, kv_heads=2, queries=9, keys=13, width=16, value_width=5, dtype="f4"):
    shapes = {
        "q": (batch, heads, queries, width),
        "k": (batch, kv_heads, keys, width),
        "v": (batch, kv_heads, keys, value_width),
    }
    arrays = [normal(*s, dtype=dtype) for s in shapes.values()]
    files = [save(n, a) for n, a in zip(shapes, arrays)]
    return arrays, ["--query", files[0], "--key", files[1], "--value", files[2]]


def normal(*shape, dtype="f4"):
    return RANDOM.standard_normal(shape).astype(dtype)


RESULTS = ["--output", "o.npy", "--weights", "w.npy", "--lse", "l.npy"]


def check(expected, dims=4):
    """The three files against the oracle's results, and their form; no log-sum-exp where the
    oracle has none."""
    for name, file in (("output", "o.npy"), ("weights", "w.npy"), ("lse", "l.npy")):
        if name not in expected:
            continue
        result = np.load(file)
        exact, bound = expected[name]
        assert result.ndim == dims - (name == "lse")
        assert result.flags["C_CONTIGUOUS"]
        assert result.size == exact.size
        assert excess(result.reshape(exact.shape), exact, bound) <= 1, name
