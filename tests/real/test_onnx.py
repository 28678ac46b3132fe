"""ONNX's own test cases of its Attention operator, through the command.

    ATTN_BIN=build/attn python -m pytest tests/real/test_onnx.py

The four modes of qk_matmul_output are raw_scores, capped_scores, scores and weights here. Only
float32 cases are run; those of other types, which tests/python runs, are counted below, so that
none is left out unseen. Bounds: tests/python/onnx_cases.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTN = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn"))
sys.path.insert(0, str(ROOT / "tests" / "python"))

from onnx_cases import Case, cases  # noqa: E402

VIEW_OF_MODE = ("raw-scores", "capped-scores", "scores", "weights")


def of_type(*names):
    return [name for name in cases() if Case(name).dtype.name in names]


class Problem:
    """A case as options and files of `attn run`."""

    def __init__(self, case, folder):
        self.case, self.folder, self.options = case, folder, []
        self.at, self.tensors = case.at, case.tensors
        for name in ("query", "key", "value"):
            self.add(name, getattr(case, name))
        self.add_positions()
        self.add_mask()
        for name in ("scale", "softcap"):
            if self.at.get(name):
                self.options.append(f"--{name}={self.at[name]!r}")

    def add(self, name, array):
        np.save(self.folder / f"{name}.npy", np.ascontiguousarray(array))
        self.options.append(f"--{name}={self.folder / name}.npy")

    def add_positions(self):
        """Queries stand after the cached keys, or, where lengths are given, at the end of them."""
        lengths = self.tensors.get("lengths")
        if lengths is not None:
            self.options.append("--key-lengths=" + ",".join(map(str, lengths.ravel())))
        if self.at.get("is_causal"):
            at_end = lengths is not None
            self.options.append("--causal=" + ("bottom-right" if at_end else "top-left"))
        if self.case.past and lengths is None:
            self.options.append(f"--query-offset={self.case.past}")
        sides = [self.at.get(f"{side}_window_size", -1) for side in ("left", "right")]
        if max(sides) >= 0:
            self.options.append("--window=" + ",".join(map(str, sides)))

    def add_mask(self):
        """A mask may be shorter than the keys: those beyond it are hidden."""
        mask = self.tensors.get("mask")
        if mask is None:
            return
        hidden = False if mask.dtype == bool else -np.inf
        beyond = self.case.key.shape[2] - mask.shape[-1]
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


@pytest.mark.parametrize("name", of_type("float32"))
def test_case(name, tmp_path):
    case = Case(name)
    output, seen = Problem(case, tmp_path).run(VIEW_OF_MODE[case.mode])
    bound = case.bound(np.float32)
    np.testing.assert_allclose(output, case.tensors["output"], rtol=0,
                               atol=bound * case.largest_value())  # fmt: skip
    expected = case.tensors["scores"]
    if expected is None:
        return
    hidden = np.isneginf(expected)
    if case.mode == 2:  # scores as they are weighed: what the mask hides is -infinity in both
        np.testing.assert_array_equal(np.isneginf(seen), hidden)
    visible = ~hidden & np.isfinite(seen)
    assert visible.any()
    np.testing.assert_allclose(seen[visible], expected[visible], rtol=0, atol=bound)


def test_no_case_is_overlooked():
    single, half = of_type("float32"), of_type("float16", "bfloat16")
    assert len(single) >= 80
    assert len(single) + len(half) == len(cases())
