"""Fields of single families' configs that `tiny.shrink` cannot know, by name of the family."""

_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_expand": 2, "mamba_d_ssm": 64}
_RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 8],
    "depths": [1, 1, 1, 1],
    "out_features": ["stage2", "stage3", "stage4"],
}
_BACKBONE = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": {**_RESNET, "out_features": ["stage4"]},
}
_SERIES = {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2]}

OVERRIDES: dict[str, dict] = {
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "bridgetower": {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "text_config.hidden_size": 64,
        "vision_config.hidden_size": 64,
    },
    "conditional_detr": _BACKBONE,
    "dbrx": {"attn_config.kv_n_heads": 2},
    "deepseek_v2": {"topk_method": "greedy", "num_experts_per_tok": 2},
    "deformable_detr": {**_BACKBONE, "backbone_config": _RESNET, "num_feature_levels": 3},
    "detr": _BACKBONE,
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "falcon_h1": _MAMBA,
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "attention"]},
    "informer": _SERIES,
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "layers_block_type": ["mamba", "attention"],
    },
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "hidden_size": 32},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "head_dim": 8},
    "maskformer": {"backbone_config": _RESNET},
    "mistral4": {"head_dim": 8, "qk_rope_head_dim": 8},
    "mobilebert": {
        "hidden_size": 32,
        "embedding_size": 32,
        "intra_bottleneck_size": 32,
        "true_hidden_size": 32,
    },
    "nemotron_h": {"layers_block_type": ["mamba", "attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "time_series_transformer": _SERIES,
}
