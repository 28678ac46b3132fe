#!/usr/bin/env python3
"""Exports what the head that maps atoms computes for two chemical reactions.

    pip install -r examples/reactions/requirements.txt
    python tools/export_reactions.py examples/data

writes two files, both float32, with a reaction as a row of the batch and the shorter one padded:

    reaction_pair.safetensors            query, key, value   [2, 1, tokens, 32]
    reaction_pair_expected.safetensors   output              [2, 1, tokens, 32]
                                         weights             [2, 1, tokens, tokens]

It is head 5 of layer 10, both counted from 0, which rxnmapper reads its answers from. The first
file is input for `attn run --key-lengths`; the second is what PyTorch made of it, and what
tests/real/test_models.py holds libattn to. The model comes out of the installed package: nothing is
fetched while this runs.
"""

import argparse
import hashlib
import json
import os
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: it must look at files only

import torch
import transformers
from safetensors_file import write_safetensors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # rxnmapper finds its model by a function that is deprecated
    from rxnmapper import RXNMapper

# From rxnmapper's own tests, one long and one short, so that most of the second is padding.
REACTIONS = (
    "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F",
    "CC[O-]~[Na+].BrCC.[Na+]~[H-]>>CCOCC",
)
LAYER, HEAD = 10, 5
MODEL_SHA256 = "8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2"

ORIGIN = (
    "albert_heads_8_uspto_all_1310k (ALBERT, 12 layers, 8 heads of 32), as packaged in "
    "rxnmapper 0.4.3 on PyPI; pytorch_model.bin sha256 " + MODEL_SHA256
)
LICENCE = "model and reactions: MIT, copyright 2020 RXN4Chemistry team"


def check_model(folder):
    """Another model would make another file: refuse it rather than export it under this name."""
    path = Path(folder) / "pytorch_model.bin"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        raise SystemExit(f"{path}: sha256 is {digest}, expected {MODEL_SHA256}")


def record(attention):
    """Hooks the attention that all layers share; returns the lists that the next pass appends a
    layer's rows of all heads to, by name."""
    seen = {name: [] for name in ("query", "key", "value", "output")}

    def keep_result(name):
        return lambda _module, _inputs, result: seen[name].append(result)

    for name in ("query", "key", "value"):
        getattr(attention, name).register_forward_hook(keep_result(name))
    attention.dense.register_forward_pre_hook(lambda _, inputs: seen["output"].append(inputs[0]))
    return seen


def run_model(mapper):
    """Returns the tokens of each reaction and the tensors of the one head."""
    seen = record(mapper.model.encoder.albert_layer_groups[0].albert_layers[0].attention)
    encoded = mapper.tokenizer.batch_encode_plus(REACTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        result = mapper.model(**encoded)
    width = mapper.model.config.hidden_size // mapper.model.config.num_attention_heads
    tensors = {name: rows[LAYER].unflatten(-1, (-1, width)).transpose(1, 2)
               for name, rows in seen.items()}  # fmt: skip
    tensors["weights"] = result.attentions[LAYER]
    tokens = [mapper.tokenize_for_model(reaction) for reaction in REACTIONS]
    return tokens, {name: t[:, HEAD : HEAD + 1].contiguous() for name, t in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the two files go")
    folder = parser.parse_args().folder
    if not folder.is_dir():
        parser.error(f"folder: {folder} is not a directory")

    torch.set_num_threads(1)  # the split of a matrix product over threads may change its last bits
    mapper = RXNMapper()
    check_model(mapper.model_path)
    tokens, tensors = run_model(mapper)
    metadata = {
        "reactions": json.dumps(REACTIONS),
        "reaction_tokens": json.dumps(tokens),
        "key_lengths": json.dumps([len(row) for row in tokens]),
        "origin": ORIGIN,
        "licence": LICENCE,
        "made_by": f"tools/export_reactions.py, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
    }
    for suffix, names in (("", ("query", "key", "value")), ("_expected", ("output", "weights"))):
        path = folder / f"reaction_pair{suffix}.safetensors"
        write_safetensors(path, {name: tensors[name] for name in names}, metadata)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
