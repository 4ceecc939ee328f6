"""A live model of transformers, composed of its parts or of one's own, as a model of this package.

transformers is not imported: its classes are known by name. Each part that has an equivalent here becomes that, tensor by
tensor; another stays as it is, with its attention layers replaced by this package's (adapted.py).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from perceiver_io.config import DecoderConfig, EncoderConfig, ImageInputConfig, TextInputConfig
from perceiver_io.config_json import ConfigError
from perceiver_io.loading import huggingface
from perceiver_io.loading.adapted import AdaptedModel
from perceiver_io.loading.checkpoint import load_checkpoint
from perceiver_io.loading.huggingface_names import tensor_name
from perceiver_io.parts.decoders import BasicDecoder, ClassificationDecoder, ProjectionDecoder, VideoDecoder
from perceiver_io.parts.image_preprocessor import ImagePreprocessor
from perceiver_io.parts.multimodal_preprocessor import (
    AudioPreprocessor,
    MultimodalPreprocessor,
    OneHotPreprocessor,
    VideoPreprocessor,
)
from perceiver_io.parts.postprocessors import AudioPostprocessor, ClassificationPostprocessor, ProjectionPostprocessor
from perceiver_io.parts.queried_decoders import LearnedQueriesDecoder, PositionsDecoder
from perceiver_io.parts.text_preprocessor import TextPreprocessor
from perceiver_io.tasks.features import PerceiverModel

State = Mapping[str, Tensor]


def from_transformers(model: Any) -> Any:
    """A `transformers.PerceiverModel`, with any preprocessor, decoder and postprocessor, or one of its heads, as ours.

    Heads (`PerceiverForMaskedLM` and so on) become their task's model. Of a composition, what has an equivalent here becomes
    a `PerceiverModel`, which can be saved; with a part of another class it is an `AdaptedModel`, whose parts stay as they are.
    Both have `encode` and `decode`, and export. Weights are copied; the model given is left as it is. Raises `ConfigError`.

    >>> model = from_transformers(transformers.PerceiverModel(config, input_preprocessor=…, decoder=…))
    """
    kind, given_module = type(model).__name__, isinstance(model, nn.Module)
    if not given_module or not hasattr(model, "config"):
        raise ConfigError(f"{kind} is no model of transformers: give a PerceiverModel, or one of its heads")
    if kind in huggingface.ARCHITECTURES and kind != "PerceiverModel":
        with tempfile.TemporaryDirectory(prefix="perceiver-model-") as folder:
            model.save_pretrained(folder)
            return load_checkpoint(f"{folder}/")
    if not all(hasattr(model, name) for name in ("embeddings", "encoder", "input_preprocessor")):
        raise ConfigError(f"{kind} is no PerceiverModel: give that, or one of the heads {', '.join(huggingface.ARCHITECTURES)}")
    config = huggingface.encoder_config(model.config.to_dict())
    parts: dict[str, Any] = {
        "preprocessor": _converted(model.input_preprocessor, PREPROCESSORS, config),
        "decoder": _converted(model.decoder, DECODERS, config),
        "postprocessor": _converted(model.output_postprocessor, POSTPROCESSORS, config),
    }
    given = {"preprocessor": model.input_preprocessor, "decoder": model.decoder, "postprocessor": model.output_postprocessor}
    channels = model.encoder.cross_attention.attention.self.layernorm2.normalized_shape[0]
    ours = PerceiverModel(config, input_channels=channels, **parts)
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(("embeddings.", "encoder."))}
    _fill(ours.encoder, state, lambda name: tensor_name("features", f"encoder.{name}"))
    if any(parts[name] is None and part is not None for name, part in given.items()):
        return AdaptedModel(ours.encoder, config, **given).eval()
    return ours.eval()


def _converted(part: Any, table: Mapping[str, Callable[[Any, EncoderConfig], nn.Module | None]], config: EncoderConfig) -> Any:
    """The equivalent of a part with its weights; None where there is no part, or no equivalent."""
    if part is None or not type(part).__module__.startswith("transformers."):
        return None
    convert = table.get(type(part).__name__)
    return None if convert is None else convert(part, config)


def _fill(ours: Any, theirs: State, name: Callable[[str], str]) -> Any:
    """`ours` with the tensors of `theirs`, whose names `name` gives. Raises `ConfigError` unless all are used."""
    state = {own: theirs[name(own)].detach().clone() for own in ours.state_dict() if name(own) in theirs}
    missing = sorted(set(ours.state_dict()) - set(state))
    unused = sorted(set(theirs) - {name(own) for own in state})
    if missing or unused:
        wrong = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has no place for", unused)) if names]
        raise ConfigError(f"{type(ours).__name__} {' and '.join(wrong)}: the weights are not those of transformers' part")
    ours.load_state_dict(state)
    return ours


def _text(part: Any, config: EncoderConfig) -> nn.Module:
    table, positions = part.embeddings.weight, part.position_embeddings.weight
    ours = TextPreprocessor(TextInputConfig(table.shape[0], positions.shape[0], table.shape[1]))
    return _fill(ours, part.state_dict(), _prefixed("text-classification", "preprocessor.", "perceiver.input_preprocessor."))  # type: ignore[no-any-return]


def _prefixed(task: str, own: str, their: str) -> Callable[[str], str]:
    return lambda name: tensor_name(task, own + name).removeprefix(their)


def _image(part: Any, config: EncoderConfig) -> nn.Module | None:
    positions = _fourier(part.position_embeddings)
    if part.conv_after_patching or part.concat_or_add_pos != "concat":
        return None
    if part.position_encoding_type == "fourier":
        if positions is None or part.project_pos_dim > 0:
            return None
        bands, resolution = positions
        if len(resolution) == 3:
            plain = part.prep_type == "patches" and part.temporal_downsample == 1
            return _video(part, bands, resolution) if plain else None
        if len(resolution) != 2:
            return None
        placing: dict[str, Any] = {"positions": "fourier", "fourier_bands": bands, "max_resolution": resolution}
        side = int(part.config.image_size)
    else:
        count, channels = part.position_embeddings.position_embeddings.shape
        side = math.isqrt(count)
        if side * side != count or part.project_pos_dim != channels:
            return None
        placing = {"positions": "learned", "position_channels": channels}
        side *= part.spatial_downsample
    if part.prep_type == "pixels" and part.spatial_downsample != 1:
        raise ConfigError(
            "transformers' pixels with a spatial_downsample drop items of the batch and channels, not pixels: use 1, or conv1x1"
        )
    if part.prep_type == "conv" and not isinstance(part.convnet.batchnorm, nn.BatchNorm2d):
        return None
    step = 1 if part.prep_type == "conv" else part.spatial_downsample
    image = ImageInputConfig(
        part.prep_type, (side, side), image_channels=part.in_channels, channels=part.out_channels, downsample=step, **placing
    )
    names = _prefixed("image-classification", "preprocessor.", "perceiver.input_preprocessor.")
    return _fill(ImagePreprocessor(image), part.state_dict(), names)  # type: ignore[no-any-return]


def _video(part: Any, bands: int, resolution: tuple[int, int, int]) -> nn.Module:
    return VideoPreprocessor(patch=part.spatial_downsample, bands=bands, max_resolution=resolution, channels=part.in_channels)


def _fourier(positions: Any) -> tuple[int, Any] | None:
    """Bands and resolution of Fourier positions as ours are; None for others."""
    if type(positions).__name__ != "PerceiverFourierPositionEncoding" or positions.sine_only or not positions.concat_pos:
        return None
    return positions.num_bands, tuple(int(size) for size in positions.max_resolution)


def _audio(part: Any, config: EncoderConfig) -> nn.Module | None:
    positions = _fourier(part.position_embeddings)
    if positions is None or len(positions[1]) != 1 or part.concat_or_add_pos != "concat" or part.project_pos_dim > 0:
        return None
    return AudioPreprocessor(samples_per_patch=part.samples_per_patch, bands=positions[0], max_resolution=positions[1][0])


def _one_hot(part: Any, config: EncoderConfig) -> nn.Module:
    return OneHotPreprocessor(num_labels=part.config.num_labels)


def _multimodal(part: Any, config: EncoderConfig) -> nn.Module | None:
    modalities = {name: _converted(each, PREPROCESSORS, config) for name, each in part.modalities.items()}
    if None in modalities.values() or any(0 < share < 1 for share in part.mask_probs.values()):
        return None
    left_out = {name for name, share in part.mask_probs.items() if share >= 1}
    if any(not isinstance(modalities[name], OneHotPreprocessor) for name in left_out):
        return None  # how many mask tokens there are depends on the input
    ours = MultimodalPreprocessor(
        modalities, min_padding=part.min_padding_size, mask_lengths=dict.fromkeys(sorted(left_out), 1)
    )
    state = dict(part.state_dict())
    for name in modalities:  # each has been filled; and one that is never masked has no mask token
        state |= {f"modalities.{name}.{key}": tensor for key, tensor in modalities[name].state_dict().items()}
        state.setdefault(f"mask.{name}", torch.zeros(1, ours.channels))
    wanted = set(ours.state_dict())
    ours.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items() if name in wanted})
    return ours


PREPROCESSORS: dict[str, Callable[[Any, EncoderConfig], nn.Module | None]] = {
    "PerceiverTextPreprocessor": _text,
    "PerceiverImagePreprocessor": _image,
    "PerceiverAudioPreprocessor": _audio,
    "PerceiverOneHotPreprocessor": _one_hot,
    "PerceiverMultimodalPreprocessor": _multimodal,
}


def _decoder_config(basic: Any) -> DecoderConfig:
    """Of the cross-attention in a `PerceiverBasicDecoder`, from what it is made of."""
    layer = basic.decoding_cross_attention
    attention = layer.attention.self
    return DecoderConfig(
        heads=attention.num_heads,
        qk_channels=attention.query.weight.shape[0],
        v_channels=attention.value.weight.shape[0],
        widening=layer.mlp.dense1.weight.shape[0] // layer.mlp.dense1.weight.shape[1],
        query_residual=bool(layer.attention.use_query_residual),
    )


def _basic_names(name: str) -> str:
    """Of tensors in a basic decoder."""
    renamed = {
        "queries.table": "output_position_encodings.position_embeddings",
        "projection.weight": "positions_projection.weight",
        "projection.bias": "positions_projection.bias",
        "output.weight": "final_layer.weight",
        "output.bias": "final_layer.bias",
    }
    return renamed.get(name) or tensor_name("features", name.replace("cross_attention.", "decoding_cross_attention.", 1))


def _basic(part: Any, config: EncoderConfig, *, first_only: bool = False) -> nn.Module | None:
    if part.concat_preprocessed_input or part.position_encoding_only:
        return None
    decoder, state = _decoder_config(part), part.state_dict()
    channels = part.decoding_cross_attention.attention.self.layernorm1.normalized_shape[0]
    last = part.final_layer
    outputs = last.out_features if isinstance(last, nn.Linear) else None
    ours: nn.Module
    if part.position_encoding_type == "none":
        ours = BasicDecoder(decoder, config, query_channels=channels, output_channels=outputs)
    elif part.position_encoding_type == "trainable":
        count, table = part.output_position_encodings.position_embeddings.shape
        projected = channels if isinstance(part.positions_projection, nn.Linear) else None
        plain = first_only and count == 1 and projected is None and channels == config.latent_channels and outputs is not None
        if plain:
            ours = ClassificationDecoder(decoder, config, num_labels=outputs or 0)
        else:
            sizes = {"count": count, "query_channels": table, "output_channels": outputs, "projected": projected}
            ours = LearnedQueriesDecoder(decoder, config, **sizes, first_only=first_only)
    else:
        positions = _fourier(part.output_position_encodings)
        if positions is None or isinstance(part.positions_projection, nn.Linear):
            return None
        ours = PositionsDecoder(decoder, config, bands=positions[0], max_resolution=positions[1], output_channels=outputs)
    return _fill(ours, state, _basic_names)  # type: ignore[no-any-return]


def _classification(part: Any, config: EncoderConfig) -> nn.Module | None:
    return _basic(part.decoder, config, first_only=True)


def _projection(part: Any, config: EncoderConfig) -> nn.Module:
    ours = ProjectionDecoder(config, num_labels=part.classifier.out_features)
    return _fill(ours, part.state_dict(), lambda name: name.replace("output.", "classifier."))  # type: ignore[no-any-return]


def _video_decoder(part: Any, config: EncoderConfig) -> nn.Module | None:
    basic = part.decoder
    positions = _fourier(basic.output_position_encodings)
    if basic.concat_preprocessed_input or positions is None or isinstance(basic.positions_projection, nn.Linear):
        return None
    frames, height, width = (int(size) for size in part.output_shape[1:])
    ours = VideoDecoder(
        _decoder_config(basic), config, size=(frames, height, width), bands=positions[0], max_resolution=positions[1],
        output_channels=basic.final_layer.out_features,
    )  # fmt: skip
    return _fill(ours, basic.state_dict(), _basic_names)  # type: ignore[no-any-return]


DECODERS: dict[str, Callable[[Any, EncoderConfig], nn.Module | None]] = {
    "PerceiverProjectionDecoder": _projection,
    "PerceiverBasicDecoder": _basic,
    "PerceiverClassificationDecoder": _classification,
    "PerceiverBasicVideoAutoencodingDecoder": _video_decoder,
}


def _classifier(kind: Callable[[int, int], nn.Module]) -> Callable[[Any, EncoderConfig], nn.Module]:
    def convert(part: Any, config: EncoderConfig) -> nn.Module:
        ours = kind(part.classifier.in_features, part.classifier.out_features)
        return _fill(ours, part.state_dict(), lambda name: name.replace("projection.", "classifier."))  # type: ignore[no-any-return]

    return convert


POSTPROCESSORS: dict[str, Callable[[Any, EncoderConfig], nn.Module | None]] = {
    "PerceiverProjectionPostprocessor": _classifier(ProjectionPostprocessor),
    "PerceiverClassificationPostprocessor": _classifier(ClassificationPostprocessor),
    "PerceiverAudioPostprocessor": _classifier(AudioPostprocessor),
}
