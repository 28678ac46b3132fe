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
_SERIES = {"prediction_length": 4, "context_length": 8}

_SECTIONS = {
    "text_config.rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
        "mrope_section": [2, 1, 1],
    }
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

OVERRIDES: dict[str, dict] = {
    "blt": {
        "encoder_hash_byte_group_vocab": 128,
        "encoder_config.encoder_hash_byte_group_vocab": 128,
    },
    "chameleon": {"vocabulary_map": {"<image>": 100}},
    "cohere_compass": {
        "text_config.rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE},
        "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE},
    },
    "dory": {
        "num_hidden_layers": 3,
        "n_input_layers": 1,
        "n_recurrent_layers": 1,
        "n_output_layers": 1,
    },
    "florence2": {
        "vision_config.embed_dim": [8, 16, 32, 32],
        "vision_config.num_heads": [1, 2, 4, 4],
        "vision_config.num_groups": [1, 2, 4, 4],
        "vision_config.depths": [1, 1, 1, 1],
        "embed_dim": [8, 16, 32, 32],
        "num_heads": [1, 2, 4, 4],
        "num_groups": [1, 2, 4, 4],
        "depths": [1, 1, 1, 1],
    },
    "fun_asr_nano": {"adaptor_config.intermediate_size": 8},
    "gemma3n": {"num_kv_shared_layers": 0, "activation_sparsity_pattern": 0.0},
    "glm4v": _SECTIONS,
    "glm4v_moe": _SECTIONS,
    "glm5_next": {"text_config.index_topk": 16, "index_topk": 16},
    "glm_image": _SECTIONS,
    "glm_ocr": _SECTIONS,
    "gradium_phonon_tts": {"flow_head_config.condition_dim": 32},
    "hunyuan_vl": _SECTIONS,
    "moonshine_streaming": {"num_key_value_heads": 4},
    "paddleocr_vl": _SECTIONS,
    "patchtsmixer": {"self_attn": True},
    "pix2struct": {
        "vision_config.patch_embed_hidden_size": 192,
        "patch_embed_hidden_size": 192,
    },
    "kosmos2_5": {
        "vision_config.patch_embed_hidden_size": 192,
        "patch_embed_hidden_size": 192,
    },
    "pocket_tts": {"flow_head_config.condition_dim": 32},
    "qwen2_5_vl": _SECTIONS,
    "qwen2_vl": _SECTIONS,
    "sam": {
        "vision_config.image_size": 32,
        "vision_config.output_channels": 32,
        "prompt_encoder_config.image_size": 32,
        "prompt_encoder_config.patch_size": 8,
    },
    "xmod": {"default_language": "en_XX"},
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "bridgetower": {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "text_config.hidden_size": 64,
        "vision_config.hidden_size": 64,
    },
    "conditional_detr": _BACKBONE,
    "dbrx": {
        "attn_config.kv_n_heads": 2,
        "attn_config.rope_theta": 10000.0,
        "attn_config.clip_qkv": 8.0,
    },
    "deepseek_v2": {"topk_method": "greedy", "num_experts_per_tok": 2},
    "deformable_detr": {**_BACKBONE, "backbone_config": _RESNET, "num_feature_levels": 3},
    "detr": _BACKBONE,
    "dots3_note": {
        "qk_nope_head_dim": 4,
        "qk_rope_head_dim": 4,
        "text_config.qk_nope_head_dim": 4,
        "text_config.qk_rope_head_dim": 4,
    },
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "falcon_h1": _MAMBA,
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "attention"]},
    "informer": _SERIES,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "hidden_size": 32},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"qk_head_dim": 16},
    "maskformer": {"backbone_config": _RESNET},
    "mistral4": {"head_dim": 16, "qk_head_dim": 16},
    "mobilebert": {
        "hidden_size": 32,
        "embedding_size": 32,
        "intra_bottleneck_size": 32,
        "true_hidden_size": 32,
    },
    "nemotron_h": {"layers_block_type": ["mamba", "attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "swin": {"embed_dim": 24},
    "time_series_transformer": _SERIES,
}
