"""Files of model/ beside the safetensors package: it reads what C writes, its own bytes are C's, and C
reads what it writes. The C side is tests/model/sample.c, whose path is in ATTN_SAMPLE."""

import json
import os
import subprocess

import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file, save, save_file


def sample(*arguments):
    program = os.environ.get("ATTN_SAMPLE")
    if not program:
        pytest.fail("ATTN_SAMPLE is not set: expected the path of the built tests/model/sample.c")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = {}
    for line in done.stdout.splitlines():
        name, rows, columns, *numbers = line.split()
        # 9 digits name a float32.
        values[name] = np.array(numbers, np.float32).reshape(int(rows), int(columns))
    return values


@pytest.mark.parametrize("precision", [0, 1, 2])
def test_a_model_is_read(tmp_path, precision):
    path = tmp_path / "m.safetensors"
    expected = sample("model", path, precision)
    tensors = load_file(path)
    subwords = tensors.pop("subwords")
    assert subwords.dtype == np.uint8 and subwords.ndim == 1
    for name, values in expected.items():
        found = tensors.pop(name)
        if len(values) == 1:
            assert found.dtype == np.float32 and found.shape == values[0].shape
            assert (found == values[0]).all()
        elif precision == 0:
            assert found.dtype == np.float32 and (found == values).all()
        elif precision == 1:  # numpy rounds to nearest, of two to the even one
            assert found.dtype == np.float16 and (found == values.astype(np.float16)).all()
        else:
            scale = tensors.pop(name + ".scale")
            assert found.dtype == np.int8 and scale.dtype == np.float32
            assert scale.shape == (len(values),)
            # The smallest float32 with 127 scale >= the largest magnitude; 31 bits are exact here.
            largest = np.abs(values).max(axis=1).astype(np.float64)
            assert (127 * scale.astype(np.float64) >= largest).all()
            assert (127 * np.nextafter(scale, np.float32(0)).astype(np.float64) < largest).all()
            quotients = values.astype(np.float64) / scale.astype(np.float64)[:, None]
            assert (found == np.rint(quotients)).all()
    assert not tensors


def test_metadata_of_a_model(tmp_path):
    path = tmp_path / "m.safetensors"
    expected = sample("model", path, 2)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert set(metadata) == {"format", "config", "training"}
    assert metadata["format"] == "libattn-seq2seq-1"
    assert json.loads(metadata["config"])["vocabulary"] == len(expected["embedding.weight"])
    assert json.loads(metadata["training"]) == {"step": 12345, "dev_bleu": 42.5, "data": "Tatoeba"}


def test_the_same_bytes(tmp_path):
    path = tmp_path / "t.safetensors"
    sample("types", path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert metadata == {"format": "tab\tand \\"}
    tensors = load_file(path)
    assert tensors["i64"].shape == (1, 2, 3) and tensors["a"].shape == ()
    assert tensors["none"].shape == (0, 4) and 'i32 "é"' in tensors
    assert save(tensors, metadata) == path.read_bytes()


def module(prefix, shapes, suffix="", types=(np.float32,)):
    random = np.random.default_rng(5)
    return {
        prefix + name + suffix: random.standard_normal(shape).astype(types[i % len(types)])
        for i, (name, shape) in enumerate(shapes.items())
    }


def assert_read(values, tensors, prefix, suffix=""):
    assert {prefix + name.removeprefix("module.") + suffix for name in values} == set(tensors)
    for name, found in values.items():
        expected = tensors[prefix + name.removeprefix("module.") + suffix]
        assert (found == expected.astype(np.float32).reshape(found.shape)).all()


@pytest.mark.parametrize("types", [(np.float32,), (np.float16, np.float64)])
def test_weights_of_an_attention(tmp_path, types):
    path, width = tmp_path / "d.safetensors", 6
    shapes = {
        "in_proj_weight": (3 * width, width),
        "in_proj_bias": (3 * width,),
        "out_proj.weight": (width, width),
        "out_proj.bias": (width,),
    }
    tensors = module("decoder.cross.", shapes, types=types)
    save_file(tensors, path)
    assert_read(sample("attention", path, "decoder.cross.", width), tensors, "decoder.cross.")


def test_modules_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_model

    attention = torch.nn.MultiheadAttention(8, 2)
    path = tmp_path / "a.safetensors"
    save_model(attention, path)
    tensors = {name: t.numpy() for name, t in attention.state_dict().items()}
    assert_read(sample("attention", path, "", 8), tensors, "")

    kinds = torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer
    for cross, kind in enumerate(kinds):
        layer, path = kind(8, 4, dim_feedforward=32), tmp_path / f"b{cross}.safetensors"
        save_model(layer, path)
        tensors = {name: t.numpy() for name, t in layer.state_dict().items()}
        assert_read(sample("block", path, "", 8, cross), tensors, "")

    lstm = torch.nn.LSTM(5, 3, num_layers=2, bidirectional=True)
    path = tmp_path / "l.safetensors"
    save_model(lstm, path)
    for suffix, inputs in (("_l0", 5), ("_l0_reverse", 5), ("_l1", 6), ("_l1_reverse", 6)):
        tensors = {n: t.numpy() for n, t in lstm.state_dict().items() if n.endswith(suffix)}
        assert_read(sample("lstm", path, "", suffix, inputs, 3), tensors, "", suffix)
