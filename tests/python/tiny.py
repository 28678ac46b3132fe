"""Tiny random models of every kind: configs cut down by the names of their fields, and inputs to
them.

The names of sizes are much the same over all of transformers, so that a few patterns shrink nearly
every config (`shrink`); what they cannot know stands in `OVERRIDES`. `inputs_of` makes inputs by
the names of the parameters of a model's ``forward``.
"""

import re

WIDTH, HEADS, HEAD, VOCAB, LENGTH, LAYERS = 32, 4, 8, 128, 12, 2


def _at_most(size):
    return lambda value, config: min(value, size)


def _kv_heads(value, config):
    """Grouped queries stay grouped."""
    return min(value, HEADS // 2 if value < _first(config, _HEAD_NAMES, HEADS) else HEADS)


# Field name -> size: the first pattern that matches all of the name.
_SIZES = [
    (r"num_feat_extract_layers|num_position_embeddings", lambda value, config: value),
    (
        r"num_key_value_heads|num_kv_heads|n_head_kv|.*_kv_heads|.*key_value_heads|multi_query_group_num",
        _kv_heads,
    ),
    (r".*heads|n_head|.*num_heads", _at_most(HEADS)),
    (r".*layers|n_layers?|.*depth|num_blocks|num_hidden_groups", _at_most(LAYERS)),
    (r".*head_dim|d_kv|kv_channels|attention_head_size", _at_most(HEAD)),
    (
        r".*intermediate_size|.*ffn_dim|.*ffn_hidden_size|.*mlp_dim|n_inner|d_ff|inner_dim",
        _at_most(2 * WIDTH),
    ),
    (r"rotary_dim", _at_most(HEAD // 2)),
    (r".*_lora_rank", _at_most(2 * HEAD)),
    (r".*vocab_size|.*vocab.*size.*", _at_most(VOCAB)),
    (r"(num|n)_(.*_)?experts", _at_most(4)),
    (r".*(experts_per_tok|top_k|topk|moe_k|experts_per_token|num_selected_experts)", _at_most(2)),
    (r"n_group|topk_group|num_expert_group", _at_most(1)),
    (r".*sliding_window(_size)?|attention_chunk_size|local_attention", _at_most(5)),
    (r"image_size", _at_most(32)),
    (r"patch_size", _at_most(8)),
    (r"max_position_embeddings|n_positions|max_.*positions|max_seq_len.*|n_ctx", _at_most(512)),
    (
        r"(.*_)?(hidden_size|d_model|n_embd|embed_dim|hidden_dim|model_dim|emb_dim|embedding_size|embedding_dim)",
        _at_most(WIDTH),
    ),
    (
        r"(.*_)?(projection_dim|proj_dim|width|decoder_dim|encoder_dim|d_embed|embed_size)|dim|hidden",
        _at_most(WIDTH),
    ),
]
_SIZES = [(re.compile(f"(?:{pattern})$"), size) for pattern, size in _SIZES]
_HEAD_NAMES = ("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads")
_LAYER_NAMES = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth")
# Derived from others when a config is made, and wrong for the small one.
_DERIVED = {"out_features", "out_indices", "stage_names", "_out_features", "_out_indices"}


def _first(config, names, otherwise):
    return next((config[n] for n in names if isinstance(config.get(n), int)), otherwise)


def _each_kind(kinds):
    """One layer of each kind, in order, and at least LAYERS."""
    kept = list(dict.fromkeys(kinds))
    return (kept + [kept[-1]] * LAYERS)[: max(LAYERS, len(kept))]


def _size(name, value, config):
    for pattern, size in _SIZES:
        if pattern.match(name):
            return size(value, config) if value > 0 else value
    return value


def _rope(parameters: dict) -> dict:
    """Sections of a rotary embedding over several axes: as many, half of what rotates in all."""
    parameters = {
        name: _rope(value) if isinstance(value, dict) else value
        for name, value in parameters.items()
    }
    if sections := parameters.get("mrope_section"):
        half = int(HEAD * parameters.get("partial_rotary_factor", 1.0)) // 2
        rest = [half // len(sections)] * (len(sections) - 1)
        parameters["mrope_section"] = [half - sum(rest), *rest]
    return parameters


def shrink(config: dict, overrides: dict | None = None, tokens: set | None = None) -> dict:
    """The same config, as a dict, with small sizes. `overrides` are by dotted path
    ("text_config.head_dim")."""
    overrides, tokens = overrides or {}, set() if tokens is None else tokens
    layers, small = _first(config, _LAYER_NAMES, None), {}
    stages = "depths" in config or "hidden_sizes" in config  # lists of these stay as they are
    count = (
        len(_each_kind(config["layer_types"])) if config.get("layer_types") and layers else LAYERS
    )
    for name, value in config.items():
        if not isinstance(name, str) or (name in _DERIVED and not stages):
            continue
        if name == "per_layer_config" and value:
            value = {k: v for k, v in value.items() if int(k) < LAYERS}
        elif isinstance(value, dict) and name not in ("rope_parameters", "id2label", "label2id"):
            inner = {
                k.partition(".")[2]: v for k, v in overrides.items() if k.startswith(f"{name}.")
            }
            value = shrink(value, inner, tokens)
        elif name == "image_size" and isinstance(value, (list, tuple)):
            value = [min(side, 32) for side in value]
        elif isinstance(value, list) and len(value) == layers and layers > LAYERS and not stages:
            value = _each_kind(value) if name == "layer_types" else value[:count]
        elif name in _LAYER_NAMES and isinstance(value, int) and value > 0:
            value = min(value, count)
        elif isinstance(value, int) and not isinstance(value, bool):
            if re.search(r"_token_(id|index)$|_token$", name) and value >= VOCAB - 30:
                value = max(tokens, default=VOCAB - 31) + 1
                tokens.add(value)
            else:
                value = _size(name, value, config)
        elif name == "attn_logit_softcapping" and value:
            value = 0.5  # below what tiny models score
        elif name == "initializer_range":
            value = 0.1  # scores of about 1: weights are far from equal
        elif name == "rope_parameters" and isinstance(value, dict):
            value = _rope(value)
        elif value is None and name in ("head_dim", "num_key_value_heads"):
            value = HEAD if name == "head_dim" else HEADS
        small[name] = value
    small.update({name: value for name, value in overrides.items() if "." not in name})
    return small
