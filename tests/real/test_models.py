"""libattn on real models, held to what PyTorch made of the same tensors.

    ATTN_BIN=build/attn python -m pytest tests/real

    minilm      two layers of a sentence encoder, all heads
    reactions   the head of rxnmapper's model that maps atoms, on two reactions, one of them padded

Both computed in float32, so each may be off by the bound that bench/formula.py derives from the
formula in float64, element by element, and they may differ from each other by twice that.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from formula import attention

ATTN = Path(os.environ.get("ATTN_BIN", ROOT / "build" / "attn"))
DATA = ROOT / "examples" / "data"
RESULTS = ("output", "weights")


@dataclass(frozen=True)
class Model:
    """Tensors of a model, in `name`.safetensors and `name`_expected.safetensors."""

    name: str
    key_lengths: tuple = ()

    @cached_property
    def framework(self):
        return load_file(DATA / f"{self.name}_expected.safetensors")

    @cached_property
    def exact(self):
        inputs, visible = load_file(DATA / f"{self.name}.safetensors"), None
        if self.key_lengths:
            lengths = np.reshape(self.key_lengths, (-1, 1, 1, 1))
            visible = np.arange(inputs["key"].shape[2]) < lengths
        return attention(inputs["query"], inputs["key"], inputs["value"], visible)

    def run(self, folder, *options):
        """Runs the command on the model's queries, keys and values; returns its results by name."""
        assert ATTN.is_file(), f"ATTN_BIN: {ATTN} is not a file: build the attn command first"
        places = {name: folder / f"{name}.npy" for name in RESULTS}
        command = [ATTN, "run", DATA / f"{self.name}.safetensors"]
        command += [f"--{name}={place}" for name, place in places.items()]
        if self.key_lengths:
            command.append("--key-lengths=" + ",".join(map(str, self.key_lengths)))
        subprocess.run([*command, *options], check=True)
        return {name: np.load(place) for name, place in places.items()}


MODELS = (Model("minilm_sentence_pair"), Model("reaction_pair", (56, 21)))


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.name)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def computed(model, tmp_path_factory):
    return model.run(tmp_path_factory.mktemp(model.name))


def share_of_bound(got, expected, bound):
    """The largest |got - expected| / bound; a NaN anywhere makes it NaN, which no test passes."""
    assert got.shape == expected.shape and got.dtype == np.float32
    return np.max(np.abs(got.astype(np.float64) - expected) / bound)


@pytest.mark.parametrize("name", RESULTS)
def test_matches_the_framework(computed, model, name):
    bound = 2 * getattr(model.exact, f"{name}_bound")
    assert share_of_bound(computed[name], model.framework[name], bound) <= 1


@pytest.mark.parametrize("name", RESULTS)
def test_matches_the_formula(computed, model, name):
    bound = getattr(model.exact, f"{name}_bound")
    assert share_of_bound(computed[name], getattr(model.exact, name), bound) <= 1


@pytest.mark.parametrize("name", RESULTS)
def test_the_framework_keeps_the_bound(model, name):
    """The bound speaks of any correct float32 computation: the framework's is one."""
    bound = getattr(model.exact, f"{name}_bound")
    assert share_of_bound(model.framework[name], getattr(model.exact, name), bound) <= 1


def test_weights_sum_to_one(computed, model):
    """A row's sum is off by at most its elements' bounds (the sum below is taken in float64)."""
    sums = computed["weights"].sum(axis=-1, dtype=np.float64)
    assert np.all(np.abs(sums - 1) <= model.exact.weights_bound.sum(axis=-1))


def test_padding_weighs_nothing(tmp_path):
    padded = MODELS[1]
    for weights, length in zip(padded.run(tmp_path)["weights"], padded.key_lengths, strict=True):
        assert np.all(weights[..., length:] == 0)


def test_a_view_of_one_head_is_its_weights(tmp_path, computed, model):
    """To the bit: it comes from the same pass."""
    last, place = computed["weights"].shape[1] - 1, tmp_path / "view.npy"
    model.run(tmp_path, "--view", f"weights={place}", "--view-heads", str(last))
    assert np.array_equal(np.load(place), computed["weights"][:, last:])


@pytest.mark.parametrize("name", RESULTS)
def test_the_bound_notices_a_wrong_scale(tmp_path, model, name):
    """One part in a thousand off 1/sqrt(32) must break the bound in every head of every row."""
    wrong = model.run(tmp_path, "--scale", repr(32**-0.5 * 1.001))[name]
    share = np.abs(wrong.astype(np.float64) - model.framework[name])
    share /= 2 * getattr(model.exact, f"{name}_bound")
    assert np.all(share.max(axis=(-2, -1)) > 1)
