"""Pairs of sentences for bench/training.py and bench/translation.py: read, cut into subwords, or made."""

import gzip
import json
from pathlib import Path

import numpy as np


def read_pairs(path, most=None):
    """(source, target) of lines "source, tab, target", gzip or plain; `most`: the first so many."""
    data = Path(path).read_bytes()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    pairs = [line.split("\t")[:2] for line in text.decode().splitlines() if "\t" in line]
    return pairs[:most]


def subwords_of(model_path):
    """The SentencePiece model in a model file of attn train."""
    import safetensors
    import sentencepiece

    with safetensors.safe_open(model_path, "numpy") as file:
        model = file.get_tensor("subwords").tobytes()
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def config_of(model_path):
    import safetensors

    with safetensors.safe_open(model_path, "numpy") as file:
        return json.loads(file.metadata()["config"])


def values_of(model_path):
    """All parameters by name, float32 whatever the file has (model/model_file.h)."""
    import safetensors.numpy

    tensors = safetensors.numpy.load_file(model_path)
    tensors.pop("subwords", None)
    values = {}
    for name, array in tensors.items():
        if name.endswith(".scale") and array.dtype == np.float32 and name[:-6] in tensors:
            continue
        values[name] = array.astype(np.float32)
        if array.dtype == np.int8:
            values[name] *= tensors[f"{name}.scale"][:, None]
    return values


def made_pairs(count, vocabulary, seed=1):
    """Tokens without meaning, whose lengths spread as those of mixed text do: everyday sentences, manuals
    and package descriptions in 8000 subwords have source lengths with logarithms of mean 2.7 and
    deviation 0.6, and targets 0.85 times as long, give or take a fifth. Speed depends on nothing else."""
    random = np.random.default_rng(seed)
    source = np.exp(random.normal(2.7, 0.6, count))
    target = source * 0.85 * np.exp(random.normal(0, 0.2, count))
    return [[random.integers(4, vocabulary, max(1, round(n))) for n in pair]
            for pair in zip(source.clip(max=64), target.clip(max=64))]  # fmt: skip
