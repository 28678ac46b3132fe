"""ONNX's own test cases of its Attention operator, which come with the onnx package: masks, grouped
heads, caches, soft cap, windows, rows that see nothing, and the four modes of qk_matmul_output.

Expected outputs were computed in the inputs' type by NumPy, without blocking. With u half the
spacing at 1 of that type (2^-24 for float32): a dot product of d terms, whose factors were
multiplied by the rounded root of the scale, is off by a relative (d + 8) u, soft cap and mask
included, and two such computations of scores s give weights that differ by 4 (d + 8) u max|s|
(docs/NUMERICS.md); sums and rounding of n weights add 2 (n + 4) u; outputs differ by as much times
the largest value.
"""

import functools
import warnings

import numpy as np
import onnx
from ml_dtypes import finfo

INPUTS = ("q", "k", "v", "mask", "past_key", "past_value", "lengths")


@functools.cache
def collected():
    """Name to case, of the operator and of what it was expanded to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases of other operators divide by zero on purpose
        from onnx.backend.test.case.node import collect_testcases

        every = collect_testcases(None)
    return {case.name: case for case in every if case.name.startswith("test_attention_")}


def is_expanded(case):
    """Whether the operator is spelled out as its function's body: then no node of it is left."""
    return all(node.op_type != "Attention" for node in case.model.graph.node)


@functools.cache
def cases():
    return {name: case for name, case in collected().items() if not is_expanded(case)}


def heads_apart(x, heads):
    """[batch, length, heads * width] to [batch, heads, length, width]."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


class Case:
    """Attributes (at), inputs and expected outputs by name (tensors), and query, key and value with
    heads apart and the cache in front."""

    def __init__(self, name):
        self.model = cases()[name].model
        self.inputs, self.outputs = cases()[name].data_sets[0]
        node = self.model.graph.node[0]
        self.at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        t = self.tensors = self._named(node)
        self.query = heads_apart(t["q"], self.at.get("q_num_heads"))
        self.key = heads_apart(t["k"], self.at.get("kv_num_heads"))
        self.value = heads_apart(t["v"], self.at.get("kv_num_heads"))
        self.past = t["past_key"].shape[2] if "past_key" in t else 0
        if self.past:
            self.key = np.concatenate([t["past_key"], self.key], 2)
            self.value = np.concatenate([t["past_value"], self.value], 2)

    def _named(self, node):
        given = iter(self.inputs)
        named = {INPUTS[i]: np.asarray(next(given)) for i, name in enumerate(node.input) if name}
        expected = iter(self.outputs)
        places = {i: np.asarray(next(expected)) for i, name in enumerate(node.output) if name}
        return named | {"output": places[0], "scores": places.get(3)}

    @property
    def dtype(self):
        return self.query.dtype

    @property
    def mode(self):
        return self.at.get("qk_matmul_output_mode", 0)

    def largest_score(self):
        d = self.query.shape[3]
        scale = self.at.get("scale", d**-0.5)
        query, key = (np.linalg.norm(x.astype(np.float64), axis=-1) for x in (self.query, self.key))
        mask = self.tensors.get("mask")
        added = 0
        if mask is not None and mask.dtype != bool:
            added = np.abs(mask[np.isfinite(mask)].astype(np.float64)).max(initial=0)
        return abs(scale) * query.max() * key.max() + added

    def bound(self, dtype):
        """Of a weight and of a score; outputs: times the largest value."""
        u = float(finfo(dtype).eps) / 2
        d, n = self.query.shape[3], self.key.shape[2]
        return 4 * (d + 8) * u * self.largest_score() + 2 * (n + 4) * u

    def largest_value(self):
        return np.abs(self.value.astype(np.float64)).max()
