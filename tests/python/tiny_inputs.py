"""Inputs for a tiny model of any kind, by the names of the parameters of its ``forward``."""

import inspect

import torch
from tiny import LENGTH, VOCAB

BATCH, DECODED, FRAMES = 2, 7, 2


def _search(config, names, otherwise):
    """The first of these fields that the config or one of its parts has."""
    parts = [config] + [
        getattr(config, key) for key in config.sub_configs if getattr(config, key, None) is not None
    ]
    for part in parts:
        for name in names:
            if (value := getattr(part, name, None)) is not None:
                return value
    return otherwise


def _width(config):
    return _search(
        config, ("hidden_size", "d_model", "n_embd", "embed_dim", "encoder_hidden_size"), 32
    )


def _ids(length):
    def make(config):
        vocabulary = min(_search(config.get_text_config(), ("vocab_size",), VOCAB), VOCAB)
        return torch.randint(3, max(vocabulary - 32, 4), (BATCH, length))

    return make


def _ones(length):
    return lambda config: torch.ones(BATCH, length, dtype=torch.long)


def _side(config):
    size = _search(config, ("image_size", "img_size"), 32)
    if isinstance(size, dict):
        return size["height"], size["width"]
    return tuple(size)[:2] if isinstance(size, (list, tuple)) else (size, size)


def _channels(config):
    return _search(config, ("num_channels", "in_channels", "in_chans"), 3)


def _pixels(config):
    return torch.randn(BATCH, _channels(config), *_side(config))


def _video(config):
    frames = _search(config, ("num_frames", "frames_per_clip"), FRAMES)
    return torch.randn(BATCH, min(frames, 16), _channels(config), *_side(config))


def _mels(config):
    return _search(
        config, ("num_mel_bins", "input_feat_per_channel", "feature_size", "num_mel_filters"), 80
    )


def _grid(config):
    return torch.tensor([[1, 4, 4], [1, 4, 8]])


def _patch(config):
    patch = _search(config, ("patch_size",), 8)
    return patch if isinstance(patch, int) else patch[0]


def _patches(config):
    """Rows of flattened patches, as many as `_grid` has."""
    patch = _patch(config)
    return torch.randn(
        48, _channels(config) * _search(config, ("temporal_patch_size",), 1) * patch * patch
    )


def _boxes(config):
    corner = torch.randint(0, 50, (BATCH, LENGTH, 2))
    return torch.cat([corner, corner + 5], -1)


def _embeddings(length):
    return lambda config: torch.randn(BATCH, length, _width(config))


_TEXT = {"input_ids": _ids(LENGTH), "attention_mask": _ones(LENGTH)}
_DECODER = {"decoder_input_ids": _ids(DECODED)}


def _past(config):
    return config.context_length + max(getattr(config, "lags_sequence", [0]))


def _times(length):
    return lambda c: torch.randn(BATCH, length(c), c.num_time_features)


_SERIES = {
    "past_values": lambda c: torch.randn(BATCH, _past(c)),
    "past_observed_mask": lambda c: torch.ones(BATCH, _past(c)),
    "past_time_features": _times(_past),
    "future_values": lambda c: torch.randn(BATCH, c.prediction_length),
    "future_time_features": _times(lambda c: c.prediction_length),
}

# What to try, in this order: each is used as far as `forward` has such parameters, and left if it
# has not the one in front.
_VARIANTS = [
    {**_TEXT, **_DECODER, "bbox": _boxes},
    {**_TEXT, **_DECODER},
    {"input_ids": _ids(LENGTH)},
    {"pixel_values": _pixels, **_TEXT},
    {"pixel_values": _pixels, **_DECODER},
    {"pixel_values": _video},
    {"pixel_values_videos": _video},
    {
        "pixel_values": _patches,
        "image_grid_thw": _grid,
        "grid_thw": _grid,
        "cu_seqlens": lambda c: torch.tensor([0, 16, 48]),
    },
    {
        "pixel_values": lambda c: _patches(c).unflatten(-1, (_channels(c), _patch(c), -1)),
        "image_grid_thw": _grid,
        "grid_thw": _grid,
    },
    {"hidden_states": _patches, "grid_thw": _grid},
    {"hidden_states": _patches, "image_grid_thw": _grid},
    {
        "input_features": lambda c: torch.randn(
            BATCH, _mels(c), 2 * _search(c, ("max_source_positions",), 32)
        ),
        **_DECODER,
    },
    {
        "input_features": lambda c: torch.randn(BATCH, _mels(c), 64),
        "input_features_mask": _ones(64),
        "feature_lens": lambda c: torch.full((BATCH,), 64),
        **_DECODER,
    },
    {
        "input_features": lambda c: torch.randn(BATCH, 64, _search(c, ("input_dim",), 160)),
        **_DECODER,
    },
    {"input_features": lambda c: torch.randn(BATCH, _mels(c), 64), **_DECODER},
    {
        "input_features": lambda c: torch.randn(BATCH, 64, _mels(c)),
        "attention_mask": _ones(64),
        **_DECODER,
    },
    {"input_features": lambda c: torch.randn(BATCH, 64, _mels(c)), **_DECODER},
    {
        "input_features": lambda c: torch.randn(
            BATCH, 64, _search(c, ("feature_projection_input_dim",), 160)
        ),
        **_DECODER,
    },
    {"input_features": lambda c: torch.randn(BATCH, 1, 64, _mels(c))},
    {"input_features": lambda c: torch.randn(BATCH, 1, 1024, _mels(c)), **_TEXT},
    {"input_values": lambda c: torch.randn(BATCH, 4000), **_DECODER},
    {"input_values": lambda c: torch.randn(BATCH, 1, 4000)},
    {"input_values": lambda c: torch.randn(BATCH, 16000)},
    {"input_values": lambda c: torch.randn(BATCH, _search(c, ("max_length",), 64), _mels(c))},
    {"input_values": lambda c: torch.randn(BATCH, _search(c, ("vocab_size",), 8), 64)},
    {"inputs_embeds": _embeddings(LENGTH), "attention_mask": _ones(LENGTH)},
    {"inputs_embeds": _embeddings(LENGTH)},
    {"inputs_embeds": _embeddings(LENGTH), "encoder_hidden_states": _embeddings(DECODED)},
    {"hidden_states": _embeddings(LENGTH), "attention_mask": lambda c: None},
    {"query_embeds": _embeddings(DECODED), "encoder_hidden_states": _embeddings(LENGTH)},
    {"input_ids": _ids(LENGTH), "encoder_hidden_states": _embeddings(DECODED)},
    {**_SERIES},
    {
        "past_values": lambda c: torch.randn(
            BATCH, c.context_length, _search(c, ("num_input_channels",), 1)
        )
    },
    {
        "flattened_patches": lambda c: torch.cat(
            [
                torch.ones(BATCH, 9, 2),
                torch.randn(BATCH, 9, 3 * _search(c, ("patch_size",), 8) ** 2),
            ],
            -1,
        ),
        **_DECODER,
    },
    {"pixel_values": lambda c: torch.randn(BATCH, 2, _channels(c), 32, 32)},
    {"pixel_values": lambda c: torch.randn(BATCH, _channels(c), 32, 320)},
    {"pixel_values": lambda c: torch.randn(BATCH, _channels(c), 64, 64)},
    {"pixel_values": _pixels, "input_ids": _ids(LENGTH), "bbox": _boxes},
    {"x": _pixels},
    {"audio_values": lambda c: torch.randn(BATCH, 1, 4000)},
]


def variants(model):
    """Inputs that may suit this model, made one after another."""
    parameters = inspect.signature(inspect.unwrap(type(model).forward)).parameters
    for variant in _VARIANTS:
        if next(iter(variant)) not in parameters:
            continue
        try:
            torch.manual_seed(1)
            made = {
                name: make(model.config) for name, make in variant.items() if name in parameters
            }
        except (AttributeError, TypeError, RuntimeError, IndexError, KeyError):
            continue
        yield made
