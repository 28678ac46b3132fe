"""libattn on a real model: two layers of MiniLM, all heads, held to what PyTorch made of them.

    ATTN_BIN=build/attn python -m pytest tests/real

Both computed in float32, so each may be off by the bound that bench/formula.py derives from the
formula in float64, element by element, and they may differ from each other by twice that.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from formula import attention

ATTN = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn"))
INPUT = ROOT / "examples" / "data" / "minilm_sentence_pair.safetensors"
EXPECTED = ROOT / "examples" / "data" / "minilm_sentence_pair_expected.safetensors"
RESULTS = ("output", "weights")


def run_attn(folder, *options):
    """Runs the command on the model's queries, keys and values; returns its results by name."""
    assert ATTN.is_file(), f"ATTN_BIN: {ATTN} is not a file: build the attn command first"
    places = {name: folder / f"{name}.npy" for name in RESULTS}
    command = [ATTN, "run", INPUT, "--output", places["output"], "--weights", places["weights"]]
    subprocess.run([*command, *options], check=True)
    return {name: np.load(place) for name, place in places.items()}


@pytest.fixture(scope="module")
def framework():
    return load_file(EXPECTED)


@pytest.fixture(scope="module")
def exact():
    inputs = load_file(INPUT)
    return attention(inputs["query"], inputs["key"], inputs["value"])


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    return run_attn(tmp_path_factory.mktemp("minilm"))


def share_of_bound(got, expected, bound):
    """The largest |got - expected| / bound; a NaN anywhere makes it NaN, which no test passes."""
    assert got.shape == expected.shape and got.dtype == np.float32
    return np.max(np.abs(got.astype(np.float64) - expected) / bound)


@pytest.mark.parametrize("name", RESULTS)
def test_matches_the_framework(computed, framework, exact, name):
    bound = 2 * getattr(exact, f"{name}_bound")
    assert share_of_bound(computed[name], framework[name], bound) <= 1


@pytest.mark.parametrize("name", RESULTS)
def test_matches_the_formula(computed, exact, name):
    bound = getattr(exact, f"{name}_bound")
    assert share_of_bound(computed[name], getattr(exact, name), bound) <= 1


@pytest.mark.parametrize("name", RESULTS)
def test_the_framework_keeps_the_bound(framework, exact, name):
    """The bound speaks of any correct float32 computation: the framework's is one."""
    bound = getattr(exact, f"{name}_bound")
    assert share_of_bound(framework[name], getattr(exact, name), bound) <= 1


def test_weights_sum_to_one(computed, exact):
    """A row's sum is off by at most its elements' bounds (the sum below is taken in float64)."""
    sums = computed["weights"].sum(axis=-1, dtype=np.float64)
    assert np.all(np.abs(sums - 1) <= exact.weights_bound.sum(axis=-1))


@pytest.mark.parametrize("name", RESULTS)
def test_the_bound_notices_a_wrong_scale(tmp_path, framework, exact, name):
    """One part in a thousand off 1/sqrt(32) must break the bound in every head of both layers."""
    wrong = run_attn(tmp_path, "--scale", repr(32**-0.5 * 1.001))[name]
    share = np.abs(wrong.astype(np.float64) - framework[name])
    share /= 2 * getattr(exact, f"{name}_bound")
    assert np.all(share.max(axis=(-2, -1)) > 1)
