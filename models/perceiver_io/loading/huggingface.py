"""The Hugging Face layout: which model a `config.json` is for, and its configuration as ours.

Facts are transformers' own (models/perceiver); transformers itself is not needed. Names of tensors: huggingface_names.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from perceiver_io.config import (
    Activation,
    AnyConfig,
    DecoderConfig,
    EncoderConfig,
    FeaturesConfig,
    FillMaskConfig,
    FlowConfig,
    ImageClassificationConfig,
    ImageInputConfig,
    MultimodalConfig,
    ProblemType,
    TextClassificationConfig,
    TextInputConfig,
    check_size,
)
from perceiver_io.config_json import ConfigError

T = TypeVar("T")

# PerceiverConfig's defaults: save_pretrained writes only what differs from them.
_DEFAULTS: dict[str, Any] = {
    "num_latents": 256,
    "d_latents": 1280,
    "d_model": 768,
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
    "vocab_size": 262,
    "max_position_embeddings": 2048,
    "image_size": 56,
    "train_size": [368, 496],
    "num_frames": 16,
    "audio_samples_per_frame": 1920,
    "samples_per_patch": 16,
    "output_shape": [1, 16, 224, 224],
    "output_num_channels": 512,
    "_label_trainable_num_channels": 1024,
    "problem_type": None,
}
LIVE = "make the model with its parts in Python and give it to perceiver_io.from_transformers and perceiver_deploy.export_model"
_ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}
_PROBLEMS: dict[str, ProblemType] = {
    "single_label_classification": "single_label",
    "multi_label_classification": "multi_label",
    "regression": "regression",
}


@dataclass(frozen=True)
class Architecture:
    """A model class of transformers: its task, and its configuration as ours, given the tensors' names in the file."""

    task: str
    config: Callable[[dict[str, Any], Collection[str]], AnyConfig]


def architecture_name(config: dict[str, Any]) -> str | None:
    """The architecture that a Hugging Face `config.json` names, or None where it is none of ours."""
    names = config.get("architectures")
    known = [name for name in names if isinstance(name, str) and name in ARCHITECTURES] if isinstance(names, list) else []
    return known[0] if known else None


def model_config(config: dict[str, Any], tensor_names: Collection[str]) -> AnyConfig:
    """The configuration of a `config.json`. Raises `ConfigError`."""
    architecture = ARCHITECTURES.get(architecture_name(config) or "")
    if architecture is None:
        raise ConfigError(f"the architecture is {config.get('architectures')}; known: {', '.join(ARCHITECTURES)}")
    try:
        return architecture.config({key: config.get(key, default) for key, default in _DEFAULTS.items()} | config, tensor_names)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"a value in the configuration has the wrong type: {error}") from error


def encoder_config(config: dict[str, Any]) -> EncoderConfig:
    """The encoder's configuration of a `config.json`, of whichever class. Raises `ConfigError`."""
    return _encoder({key: config.get(key, default) for key, default in _DEFAULTS.items()})


def _whole(values: dict[str, Any], key: str) -> int:
    """A whole number, whose bounds the configuration's own class checks."""
    if type(values[key]) is not int:
        raise ConfigError(f"{key} is {str(values[key])[:80]!r}, expected a whole number")
    number: int = values[key]
    check_size(key, number)
    return number


def _optional(values: dict[str, Any], key: str) -> int | None:
    return None if values[key] is None else _whole(values, key)


def _number(values: dict[str, Any], key: str) -> float:
    if type(values[key]) not in (int, float) or not 0 <= values[key] <= 1:
        raise ConfigError(f"{key} is {str(values[key])[:80]!r}, expected a number from 0 to 1")
    return float(values[key])


def _choice(values: dict[str, Any], key: str, choices: dict[Any, T]) -> T:
    for name, choice in choices.items():
        if type(name) is type(values[key]) and name == values[key]:
            return choice
    raise ConfigError(f"{key} is {str(values[key])[:80]!r}; supported: {', '.join(map(str, choices))}")


def _sides(values: dict[str, Any], key: str, count: int) -> list[int]:
    found = values[key]
    if not isinstance(found, list) or len(found) != count:
        raise ConfigError(f"{key} is {str(found)[:80]!r}, expected a list of {count} whole numbers")
    return [_whole({key: side}, key) for side in found]


def _encoder(values: dict[str, Any]) -> EncoderConfig:
    return EncoderConfig(
        num_latents=_whole(values, "num_latents"),
        latent_channels=_whole(values, "d_latents"),
        num_blocks=_whole(values, "num_blocks"),
        layers_per_block=_whole(values, "num_self_attends_per_block"),
        self_attention_heads=_whole(values, "num_self_attention_heads"),
        cross_attention_heads=_whole(values, "num_cross_attention_heads"),
        qk_channels=_optional(values, "qk_channels"),
        v_channels=_optional(values, "v_channels"),
        cross_attention_shape=_choice(values, "cross_attention_shape_for_attention", {"kv": "kv", "q": "q"}),
        self_attention_widening=_whole(values, "self_attention_widening_factor"),
        cross_attention_widening=_whole(values, "cross_attention_widening_factor"),
        query_residual=_choice(values, "use_query_residual", {True: True, False: False}),
        activation=_choice(values, "hidden_act", _ACTIVATIONS),
        attention_dropout=_number(values, "attention_probs_dropout_prob"),
        initializer_range=_number(values, "initializer_range"),
    )


def _decoder(values: dict[str, Any], *, query_channels: int, query_residual: bool) -> DecoderConfig:
    """A decoder of one head: it sees the encoder's choice of whose channels to attend in, and none of its channel counts."""
    in_queries = values["cross_attention_shape_for_attention"] == "q"
    return DecoderConfig(qk_channels=query_channels if in_queries else None, query_residual=query_residual)


def _labels(values: dict[str, Any]) -> tuple[str, ...]:
    names = values.get("id2label") or {
        str(number): f"LABEL_{number}" for number in range(_whole({"num_labels": 2} | values, "num_labels"))
    }
    if not isinstance(names, dict) or not all(str(key).isdecimal() and len(str(key)) < 10 for key in names):
        raise ConfigError("id2label should give each label's number a name")
    numbered = {int(number): str(name) for number, name in names.items()}
    broken = [number for number, name in numbered.items() if any("\ud800" <= letter <= "\udfff" for letter in name)]
    if broken:
        raise ConfigError(f"the name of label {broken[0]} in id2label is no valid text: give it another")
    if sorted(numbered) != list(range(len(numbered))):
        raise ConfigError(f"id2label should number the labels from 0 to {len(numbered) - 1}")
    return tuple(numbered[number] for number in range(len(numbered)))


def _problem(values: dict[str, Any], labels: tuple[str, ...]) -> ProblemType:
    if values["problem_type"] is None:
        return "single_label" if len(labels) > 1 else "regression"
    return _choice(values, "problem_type", _PROBLEMS)


def _text(values: dict[str, Any]) -> TextInputConfig:
    return TextInputConfig(_whole(values, "vocab_size"), _whole(values, "max_position_embeddings"), _whole(values, "d_model"))


def _flow(values: dict[str, Any], _: Collection[str]) -> FlowConfig:
    height, width = _sides(values, "train_size", 2)
    config = FlowConfig(encoder=_encoder(values), train_size=(height, width))
    query_channels = config.stem.query_channels + 2 + 4 * config.fourier_bands
    return replace(config, decoder=_decoder(values, query_channels=query_channels, query_residual=False))


def _fill_mask(values: dict[str, Any], _: Collection[str]) -> FillMaskConfig:
    text = _text(values)
    return FillMaskConfig(_encoder(values), DecoderConfig(heads=8, qk_channels=256, v_channels=text.channels), text)


def _classifier(values: dict[str, Any]) -> DecoderConfig:
    return _decoder(values, query_channels=_whole(values, "d_latents"), query_residual=True)


def _text_classification(values: dict[str, Any], _: Collection[str]) -> TextClassificationConfig:
    labels = _labels(values)
    return TextClassificationConfig(_encoder(values), _classifier(values), labels, _text(values), _problem(values, labels))


def _image(values: dict[str, Any], image: ImageInputConfig) -> ImageClassificationConfig:
    labels = _labels(values)
    _optional(values, "image_size")  # which Fourier positions do not need
    return ImageClassificationConfig(_encoder(values), _classifier(values), image, labels, _problem(values, labels))


def _learned(values: dict[str, Any], _: Collection[str]) -> ImageClassificationConfig:
    size = _whole(values, "image_size")
    return _image(values, ImageInputConfig("conv1x1", (size, size), positions="learned", channels=256))


def _fourier(values: dict[str, Any], _: Collection[str]) -> ImageClassificationConfig:
    return _image(values, ImageInputConfig("pixels", (224, 224)))


def _conv(values: dict[str, Any], _: Collection[str]) -> ImageClassificationConfig:
    return _image(values, ImageInputConfig("conv", (224, 224), max_resolution=(56, 56)))


def _multimodal(values: dict[str, Any], _: Collection[str]) -> MultimodalConfig:
    frames, resolution = _whole(values, "num_frames"), _whole(values, "image_size")
    height, width = _sides(values, "output_shape", 4)[2:]
    config = MultimodalConfig(
        _encoder(values),
        DecoderConfig(),
        labels=_labels(values),
        num_frames=frames,
        frame_size=(height, width),
        video_max_resolution=(frames, resolution, resolution),
        audio_samples=frames * _whole(values, "audio_samples_per_frame"),
        samples_per_patch=_whole(values, "samples_per_patch"),
        label_query_channels=_whole(values, "_label_trainable_num_channels"),
        output_channels=_whole(values, "output_num_channels"),
    )
    widest = max(config.label_query_channels, 1 + 2 * config.audio_bands, 3 * (1 + 2 * config.video_bands))
    return replace(config, decoder=_decoder(values, query_channels=widest + config.query_padding, query_residual=False))


def _features(values: dict[str, Any], tensor_names: Collection[str]) -> FeaturesConfig:
    prefix = "input_preprocessor."
    preprocessor = {re.split(r"[.]", name[len(prefix) :])[0] for name in tensor_names if name.startswith(prefix)}
    if not preprocessor:
        return FeaturesConfig(_encoder(values), _whole(values, "d_model"))
    if preprocessor != {"embeddings", "position_embeddings"}:
        raise ConfigError(
            f"the PerceiverModel has a preprocessor with {', '.join(sorted(preprocessor))}, which config.json does not "
            f"describe: {LIVE}, or save the whole model of its task"
        )
    return FeaturesConfig(_encoder(values), _whole(values, "d_model"), _text(values))


ARCHITECTURES: dict[str, Architecture] = {
    "PerceiverForOpticalFlow": Architecture("flow", _flow),
    "PerceiverForMaskedLM": Architecture("fill-mask", _fill_mask),
    "PerceiverForSequenceClassification": Architecture("text-classification", _text_classification),
    "PerceiverForImageClassificationLearned": Architecture("image-classification", _learned),
    "PerceiverForImageClassificationFourier": Architecture("image-classification", _fourier),
    "PerceiverForImageClassificationConvProcessing": Architecture("image-classification", _conv),
    "PerceiverForMultimodalAutoencoding": Architecture("multimodal", _multimodal),
    "PerceiverModel": Architecture("features", _features),
}
