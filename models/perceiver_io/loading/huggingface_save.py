"""A configuration of ours as a Hugging Face `config.json`, where transformers has an equivalent."""

from __future__ import annotations

from typing import Any

from perceiver_io.config import (
    AnyConfig,
    EncoderConfig,
    FeaturesConfig,
    FillMaskConfig,
    FlowConfig,
    ImageClassificationConfig,
    MultimodalConfig,
    TextClassificationConfig,
    TextInputConfig,
)
from perceiver_io.config_json import ConfigError
from perceiver_io.loading.huggingface import model_config

_IMAGE_MODELS = {
    ("conv1x1", "learned"): "PerceiverForImageClassificationLearned",
    ("pixels", "fourier"): "PerceiverForImageClassificationFourier",
    ("conv", "fourier"): "PerceiverForImageClassificationConvProcessing",
}


def huggingface_config(config: AnyConfig) -> dict[str, Any]:
    """The contents of `config.json`, so that transformers builds the same model.

    Raises `ConfigError` where it cannot: reading the result back would give another configuration.
    """
    data = {"model_type": "perceiver", **_encoder(config.encoder), **_task(config)}
    if "architectures" not in data or model_config(data, ()) != config:
        raise ConfigError("transformers has no equivalent of this configuration: save it in this package's own layout")
    return data


def _encoder(encoder: EncoderConfig) -> dict[str, Any]:
    return {
        "num_latents": encoder.num_latents,
        "d_latents": encoder.latent_channels,
        "num_blocks": encoder.num_blocks,
        "num_self_attends_per_block": encoder.layers_per_block,
        "num_self_attention_heads": encoder.self_attention_heads,
        "num_cross_attention_heads": encoder.cross_attention_heads,
        "qk_channels": encoder.qk_channels,
        "v_channels": encoder.v_channels,
        "cross_attention_shape_for_attention": encoder.cross_attention_shape,
        "self_attention_widening_factor": encoder.self_attention_widening,
        "cross_attention_widening_factor": encoder.cross_attention_widening,
        "hidden_act": "gelu" if encoder.activation == "gelu" else "gelu_pytorch_tanh",
        "attention_probs_dropout_prob": encoder.attention_dropout,
        "initializer_range": encoder.initializer_range,
        "use_query_residual": encoder.query_residual,
    }


def _task(config: AnyConfig) -> dict[str, Any]:
    if isinstance(config, FlowConfig):
        return {"architectures": ["PerceiverForOpticalFlow"], "train_size": list(config.train_size)}
    if isinstance(config, FillMaskConfig):
        return {"architectures": ["PerceiverForMaskedLM"], **_text(config.text)}
    if isinstance(config, TextClassificationConfig):
        return {"architectures": ["PerceiverForSequenceClassification"], **_text(config.text), **_labels(config)}
    if isinstance(config, ImageClassificationConfig):
        name = _IMAGE_MODELS.get((config.image.kind, config.image.positions))
        return {"architectures": [name], "image_size": config.image.size[0], **_labels(config)}
    if isinstance(config, MultimodalConfig):
        return {
            "architectures": ["PerceiverForMultimodalAutoencoding"],
            "num_frames": config.num_frames,
            "image_size": config.video_max_resolution[1],
            "output_shape": [1, config.num_frames, *config.frame_size],
            "audio_samples_per_frame": config.audio_samples // config.num_frames,
            "samples_per_patch": config.samples_per_patch,
            "output_num_channels": config.output_channels,
            "_label_trainable_num_channels": config.label_query_channels,
            **_labels(config),
        }
    if isinstance(config, FeaturesConfig):
        return {"architectures": ["PerceiverModel"], "d_model": config.channels}
    return {}


def _text(text: TextInputConfig) -> dict[str, Any]:
    return {"vocab_size": text.vocab_size, "max_position_embeddings": text.max_positions, "d_model": text.channels}


def _labels(config: TextClassificationConfig | ImageClassificationConfig | MultimodalConfig) -> dict[str, Any]:
    problem = None if isinstance(config, MultimodalConfig) else config.problem
    return {
        "id2label": {str(number): name for number, name in enumerate(config.labels)},
        "label2id": {name: number for number, name in enumerate(config.labels)},
        "problem_type": {"single_label": "single_label_classification", "multi_label": "multi_label_classification"}.get(
            str(problem), problem
        ),
    }
