"""ONNX's own test cases of its Attention operator, through the command.

    ATTN_BIN=build/attn python -m pytest tests/real/test_onnx.py

The cases come with the onnx package: masks, grouped heads, caches, soft cap, windows, rows that see
nothing, and the four modes of qk_matmul_output, which are raw_scores, capped_scores, scores and weights
here. Only float32 cases are run; those of other types are counted by name below, so that none is left
out unseen.

Expected outputs were computed in float32 by NumPy, without blocking: two computations of scores s
that differ by a relative (d + 8) u each give weights that differ by 4 (d + 8) u max|s| (docs/NUMERICS.md),
and outputs by as much times the largest value, plus the sums' 2 n u.
"""

import functools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTN = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn"))

U = 2.0**-24
VIEW_OF_MODE = ("raw-scores", "capped-scores", "scores", "weights")
INPUTS = ("q", "k", "v", "mask", "past_key", "past_value", "lengths")


@functools.cache
def cases():
    """Name to case, of every Attention node that is not spelled out as a function body."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases of other operators divide by zero on purpose
        from onnx.backend.test.case.node import collect_testcases

        every = collect_testcases(None)
    return {case.name: case for case in every
            if case.name.startswith("test_attention_") and not case.name.endswith("_expanded")}  # fmt: skip


def single():
    return [name for name, case in cases().items() if tensors(case)["q"].dtype == np.float32]


def tensors(case):
    node, (inputs, outputs) = case.model.graph.node[0], case.data_sets[0]
    given = iter(inputs)
    named = {INPUTS[i]: np.asarray(next(given)) for i, name in enumerate(node.input) if name}
    expected = iter(outputs)
    places = {i: np.asarray(next(expected)) for i, name in enumerate(node.output) if name}
    return named | {"output": places[0], "scores": places.get(3)}


def heads_apart(x, heads):
    """[batch, length, heads * width] to [batch, heads, length, width]."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


class Problem:
    """A case as options and files of `attn run`."""

    def __init__(self, case, folder):
        self.folder, self.options = folder, []
        node = case.model.graph.node[0]
        self.at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        t = self.tensors = tensors(case)
        self.query = heads_apart(t["q"], self.at.get("q_num_heads"))
        self.key = heads_apart(t["k"], self.at.get("kv_num_heads"))
        self.value = heads_apart(t["v"], self.at.get("kv_num_heads"))
        past = t["past_key"].shape[2] if "past_key" in t else 0
        if past:
            self.key = np.concatenate([t["past_key"], self.key], 2)
            self.value = np.concatenate([t["past_value"], self.value], 2)
        for name in ("query", "key", "value"):
            self.add(name, getattr(self, name))
        self.add_positions(past)
        self.add_mask()
        for name in ("scale", "softcap"):
            if self.at.get(name):
                self.options.append(f"--{name}={self.at[name]!r}")

    def add(self, name, array):
        np.save(self.folder / f"{name}.npy", np.ascontiguousarray(array))
        self.options.append(f"--{name}={self.folder / name}.npy")

    def add_positions(self, past):
        """Queries stand after the cached keys, or, where lengths are given, at the end of them."""
        lengths = self.tensors.get("lengths")
        if lengths is not None:
            self.options.append("--key-lengths=" + ",".join(map(str, lengths.ravel())))
        if self.at.get("is_causal"):
            at_end = lengths is not None
            self.options.append("--causal=" + ("bottom-right" if at_end else "top-left"))
        if past and lengths is None:
            self.options.append(f"--query-offset={past}")
        sides = [self.at.get(f"{side}_window_size", -1) for side in ("left", "right")]
        if max(sides) >= 0:
            self.options.append("--window=" + ",".join(map(str, sides)))

    def add_mask(self):
        """A mask may be shorter than the keys: those beyond it are hidden."""
        mask = self.tensors.get("mask")
        if mask is None:
            return
        hidden = False if mask.dtype == bool else -np.inf
        beyond = self.key.shape[2] - mask.shape[-1]
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        mask = np.pad(mask, [(0, 0)] * 3 + [(0, beyond)], constant_values=hidden)
        self.add("mask" if mask.dtype == bool else "bias", mask)

    def run(self, view):
        places = {name: self.folder / f"{name}.npy" for name in ("output", "view")}
        self.options += [f"--output={places['output']}", f"--view={view}={places['view']}"]
        subprocess.run([ATTN, "run", *self.options], check=True)
        output, seen = np.load(places["output"]), np.load(places["view"])
        if self.tensors["output"].ndim == 3:
            output = output.swapaxes(1, 2).reshape(self.tensors["output"].shape)
        return output, seen

    def score_bound(self):
        """Of a score; largest: what scores cannot exceed."""
        d = self.query.shape[3]
        scale = self.at.get("scale", d**-0.5)
        norms = [np.linalg.norm(x, axis=-1).max() for x in (self.query, self.key)]
        mask = self.tensors.get("mask")
        added = np.abs(mask[np.isfinite(mask)]).max(initial=0) if mask is not None and mask.dtype != bool else 0  # fmt: skip
        return (d + 8) * U * (abs(scale) * norms[0] * norms[1] + added)


@pytest.mark.parametrize("name", single())
def test_case(name, tmp_path):
    problem = Problem(cases()[name], tmp_path)
    mode = problem.at.get("qk_matmul_output_mode", 0)
    output, seen = problem.run(VIEW_OF_MODE[mode])
    bound = 4 * problem.score_bound() + 2 * (problem.key.shape[2] + 4) * U
    np.testing.assert_allclose(output, problem.tensors["output"], rtol=0,
                               atol=bound * np.abs(problem.value).max())  # fmt: skip
    expected = problem.tensors["scores"]
    if expected is None:
        return
    hidden = np.isneginf(expected)
    if mode == 2:  # scores as they are weighed: what the mask hides is -infinity in both
        np.testing.assert_array_equal(np.isneginf(seen), hidden)
    visible = ~hidden & np.isfinite(seen)
    assert visible.any()
    np.testing.assert_allclose(seen[visible], expected[visible], rtol=0, atol=bound)


def test_no_case_is_overlooked():
    other = {name: tensors(case)["q"].dtype.name for name, case in cases().items()
             if tensors(case)["q"].dtype != np.float32}  # fmt: skip
    assert len(single()) >= 80
    assert set(other.values()) <= {"float16", "bfloat16"}
