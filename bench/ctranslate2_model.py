"""A Transformer of attn train as a CTranslate2 model:

    python bench/ctranslate2_model.py M.safetensors FOLDER

CTranslate2 does the same arithmetic: pre-norm, ReLU, sinusoids (handed over as a table, because its own lie
sines first, cosines after), one embedding for both sides and the output, times the root of the width.
"""

import sys
from pathlib import Path

import ctranslate2
import numpy as np
import translation_text
from ctranslate2.specs import TransformerSpec, common_spec


def sinusoids(count, width):
    """As nn/models/transformer.c has them."""
    rate = 10000.0 ** (-np.arange(0, width, 2) / width)
    angle = np.arange(count)[:, None] * rate
    return np.stack((np.sin(angle), np.cos(angle)), -1).reshape(count, width).astype(np.float32)


class Converter:
    def __init__(self, model_path):
        self.config = translation_text.config_of(model_path)
        self.values = translation_text.values_of(model_path)
        self.subwords = translation_text.subwords_of(model_path)
        expected = {"family": "transformer", "norm": "layer", "post_norm": False,
                    "activation": "relu", "positions": "sinusoidal"}  # fmt: skip
        for field, value in expected.items():
            if self.config[field] != value:
                sys.exit(f"{model_path}: {field} is {self.config[field]}: expected {value}")

    def linear(self, spec, weight, bias):
        spec.weight, spec.bias = self.values[weight], self.values[bias]

    def norm(self, spec, name):
        spec.gamma, spec.beta = self.values[f"{name}.weight"], self.values[f"{name}.bias"]

    def attention(self, spec, name, oneself):
        """CTranslate2 joins queries, keys and values, or keys and values, as in_proj does."""
        width = self.config["width"]
        weight, bias = self.values[f"{name}.in_proj_weight"], self.values[f"{name}.in_proj_bias"]
        cuts = (0, 3 * width) if oneself else (0, width, 3 * width)
        for part, first, last in zip(spec.linear, cuts, cuts[1:]):
            part.weight, part.bias = weight[first:last], bias[first:last]
        self.linear(spec.linear[-1], f"{name}.out_proj.weight", f"{name}.out_proj.bias")

    def block(self, spec, name, decoder):
        self.norm(spec.self_attention.layer_norm, f"{name}.norm1")
        self.attention(spec.self_attention, f"{name}.self_attn", True)
        if decoder:
            self.norm(spec.attention.layer_norm, f"{name}.norm2")
            self.attention(spec.attention, f"{name}.multihead_attn", False)
        self.norm(spec.ffn.layer_norm, f"{name}.norm{3 if decoder else 2}")
        self.linear(spec.ffn.linear_0, f"{name}.linear1.weight", f"{name}.linear1.bias")
        self.linear(spec.ffn.linear_1, f"{name}.linear2.weight", f"{name}.linear2.bias")

    def stack(self, spec, name, decoder):
        embeddings = spec.embeddings if decoder else spec.embeddings[0]
        embeddings.weight = self.values["embedding.weight"]
        spec.scale_embeddings = True
        spec.position_encodings.encodings = sinusoids(1024, self.config["width"])
        for i, layer in enumerate(spec.layer):
            self.block(layer, f"{name}.layers.{i}", decoder)
        self.norm(spec.layer_norm, f"{name}.norm")

    def spec(self):
        config, subwords = self.config, self.subwords
        layers = config["encoder_layers"], config["decoder_layers"]
        spec = TransformerSpec.from_config(
            layers, config["heads"], activation=common_spec.Activation.RELU
        )
        self.stack(spec.encoder, "encoder", False)
        self.stack(spec.decoder, "decoder", True)
        output = "output" if config["untied"] else "embedding"
        self.linear(spec.decoder.projection, f"{output}.weight", "output.bias")
        pieces = [subwords.id_to_piece(i) for i in range(subwords.vocab_size())]
        spec.register_source_vocabulary(pieces)
        spec.register_target_vocabulary(pieces)
        spec.config.bos_token = spec.config.decoder_start_token = pieces[subwords.bos_id()]
        spec.config.eos_token = pieces[subwords.eos_id()]
        spec.config.unk_token = pieces[subwords.unk_id()]
        spec.config.add_source_eos = True
        spec.config.layer_norm_epsilon = 1e-5
        return spec


def convert(model_path, folder):
    spec = Converter(model_path).spec()
    spec.validate()
    spec.optimize()
    Path(folder).mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def open_model(folder, compute_type, threads):
    """One sentence group a thread, as attn translate has it."""
    return ctranslate2.Translator(
        str(folder), compute_type=compute_type, inter_threads=threads, intra_threads=1
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    convert(*sys.argv[1:])
