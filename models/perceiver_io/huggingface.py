"""The Hugging Face layout: which task a `config.json` is for, its configuration as ours, and the names of tensors.

Facts are transformers' own (models/perceiver); transformers itself is not needed.
"""

from __future__ import annotations

import re
from typing import Any

from perceiver_io.config import ConfigError, DecoderConfig, EncoderConfig, FlowConfig

TASK_OF_ARCHITECTURE = {"PerceiverForOpticalFlow": "flow"}

# PerceiverConfig's defaults: save_pretrained writes only what differs from them.
_DEFAULTS: dict[str, Any] = {
    "num_latents": 256,
    "d_latents": 1280,
    "num_blocks": 1,
    "num_self_attends_per_block": 26,
    "num_self_attention_heads": 8,
    "num_cross_attention_heads": 8,
    "qk_channels": None,
    "v_channels": None,
    "cross_attention_shape_for_attention": "kv",
    "self_attention_widening_factor": 1,
    "cross_attention_widening_factor": 1,
    "hidden_act": "gelu",
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "use_query_residual": True,
    "train_size": [368, 496],
}

# Our names to theirs, applied in order, each at most once.
_RENAMES = [
    (r"^stem\.projection\.", "perceiver.input_preprocessor.conv_after_patches."),
    (r"^encoder\.latents$", "perceiver.embeddings.latents"),
    (r"^encoder\.cross_attention\.", "perceiver.encoder.cross_attention."),
    (r"^encoder\.self_attention\.", "perceiver.encoder.self_attends."),
    (r"^decoder\.cross_attention\.", "perceiver.decoder.decoder.decoding_cross_attention."),
    (r"^decoder\.output\.", "perceiver.decoder.decoder.final_layer."),
    (r"\.attention\.output\.(?=weight|bias)", ".attention.output.dense."),
    (r"\.attention\.(query|key|value)\.", r".attention.self.\1."),
    (r"\.(query_norm|norm)\.", ".attention.self.layernorm1."),
    (r"\.input_norm\.", ".attention.self.layernorm2."),
    (r"\.mlp_norm\.", ".layernorm."),
    (r"\.mlp\.expand\.", ".mlp.dense1."),
    (r"\.mlp\.contract\.", ".mlp.dense2."),
]


def task_of(config: dict[str, Any]) -> str | None:
    """The task of a Hugging Face `config.json`, or None where it is none of ours."""
    architectures = config.get("architectures") or []
    return next((TASK_OF_ARCHITECTURE[name] for name in architectures if name in TASK_OF_ARCHITECTURE), None)


def tensor_name(name: str) -> str:
    """The name in a Hugging Face checkpoint of one of our tensors.

    >>> tensor_name("encoder.self_attention.3.mlp.expand.weight")
    'perceiver.encoder.self_attends.3.mlp.dense1.weight'
    """
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def encoder_config(config: dict[str, Any]) -> EncoderConfig:
    """The encoder part of a Hugging Face configuration. Raises `ConfigError`."""
    values = {key: config.get(key, default) for key, default in _DEFAULTS.items()}
    if values["hidden_act"] != "gelu":
        raise ConfigError(f"hidden_act is {values['hidden_act']!r}; only 'gelu', as in every published model, is supported")
    try:
        return EncoderConfig(
            num_latents=int(values["num_latents"]),
            latent_channels=int(values["d_latents"]),
            num_blocks=int(values["num_blocks"]),
            layers_per_block=int(values["num_self_attends_per_block"]),
            self_attention_heads=int(values["num_self_attention_heads"]),
            cross_attention_heads=int(values["num_cross_attention_heads"]),
            qk_channels=values["qk_channels"],
            v_channels=values["v_channels"],
            cross_attention_shape=values["cross_attention_shape_for_attention"],
            self_attention_widening=int(values["self_attention_widening_factor"]),
            cross_attention_widening=int(values["cross_attention_widening_factor"]),
            query_residual=bool(values["use_query_residual"]),
            attention_dropout=float(values["attention_probs_dropout_prob"]),
            initializer_range=float(values["initializer_range"]),
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a value in the configuration has the wrong type: {error}") from error


def flow_config(config: dict[str, Any]) -> FlowConfig:
    """A PerceiverForOpticalFlow configuration as ours: what transformers hard-codes, the defaults here."""
    height, width = config.get("train_size", _DEFAULTS["train_size"])
    # Its decoder sees neither qk_channels nor the residual: one head over the latents' channels.
    return FlowConfig(encoder=encoder_config(config), decoder=DecoderConfig(), train_size=(int(height), int(width)))
