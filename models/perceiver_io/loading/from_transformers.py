"""A live model of transformers, composed of its parts or of one's own, as a model of this package.

transformers is not imported: its classes are known by name. Each part that has an equivalent here becomes that, tensor by
tensor; another stays as it is, with its attention layers replaced by this package's (adapted.py).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from perceiver_io.config import EncoderConfig, ImageInputConfig, TextInputConfig
from perceiver_io.config_json import ConfigError
from perceiver_io.loading import huggingface
from perceiver_io.loading.adapted import AdaptedModel
from perceiver_io.loading.checkpoint import load_checkpoint
from perceiver_io.loading.huggingface_names import tensor_name
from perceiver_io.loading.transformers_decoders import DECODERS, POSTPROCESSORS
from perceiver_io.loading.transformers_parts import OWN_METHODS, converted, fill, fourier
from perceiver_io.parts.image_preprocessor import ImagePreprocessor
from perceiver_io.parts.multimodal_preprocessor import (
    AudioPreprocessor,
    MultimodalPreprocessor,
    OneHotPreprocessor,
    VideoPreprocessor,
)
from perceiver_io.parts.postprocessors import MultimodalPostprocessor
from perceiver_io.parts.queried_decoders import ModalitiesDecoder
from perceiver_io.parts.text_preprocessor import TextPreprocessor
from perceiver_io.tasks.features import PerceiverModel


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
        "preprocessor": converted(model.input_preprocessor, PREPROCESSORS, config),
        "decoder": converted(model.decoder, DECODERS, config),
        "postprocessor": converted(model.output_postprocessor, POSTPROCESSORS, config),
    }
    given = {"preprocessor": model.input_preprocessor, "decoder": model.decoder, "postprocessor": model.output_postprocessor}
    channels = model.encoder.cross_attention.attention.self.layernorm2.normalized_shape[0]
    ours = PerceiverModel(config, input_channels=channels, **parts)
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(("embeddings.", "encoder."))}
    fill(ours.encoder, state, lambda name: tensor_name("features", f"encoder.{name}"))
    left = [type(part).__name__ for name, part in given.items() if parts[name] is None and part is not None]
    _check_modalities(parts["decoder"], parts["postprocessor"], left)
    if left:
        return AdaptedModel(ours.encoder, config, **given).eval()
    return ours.eval()


def _check_modalities(decoder: Any, postprocessor: Any, left: list[str]) -> None:
    """Raise `ConfigError` for a decoder of several modalities beside parts that do not know them, and the other way round."""
    several = isinstance(postprocessor, MultimodalPostprocessor)
    if not isinstance(decoder, ModalitiesDecoder):
        if several:
            raise ConfigError("a multimodal postprocessor is for a multimodal decoder: use that, or a plain postprocessor")
        return
    if left:
        raise ConfigError(f"{left[0]} cannot stay as it is beside a multimodal decoder: {OWN_METHODS}")
    names = set(decoder.modalities)
    if postprocessor is not None and (not several or set(postprocessor.modalities) != names):
        raise ConfigError(
            f"the multimodal decoder gives {', '.join(sorted(names))}: the postprocessor should be a "
            "PerceiverMultimodalPostprocessor with one for each"
        )


def _text(part: Any, config: EncoderConfig) -> nn.Module:
    table, positions = part.embeddings.weight, part.position_embeddings.weight
    ours = TextPreprocessor(TextInputConfig(table.shape[0], positions.shape[0], table.shape[1]))
    return fill(ours, part.state_dict(), _prefixed("text-classification", "preprocessor.", "perceiver.input_preprocessor."))  # type: ignore[no-any-return]


def _prefixed(task: str, own: str, their: str) -> Callable[[str], str]:
    return lambda name: tensor_name(task, own + name).removeprefix(their)


def _image(part: Any, config: EncoderConfig) -> nn.Module | None:
    positions = fourier(part.position_embeddings)
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
    return fill(ImagePreprocessor(image), part.state_dict(), names)  # type: ignore[no-any-return]


def _video(part: Any, bands: int, resolution: tuple[int, int, int]) -> nn.Module:
    return VideoPreprocessor(patch=part.spatial_downsample, bands=bands, max_resolution=resolution, channels=part.in_channels)


def _audio(part: Any, config: EncoderConfig) -> nn.Module | None:
    positions = fourier(part.position_embeddings)
    if positions is None or len(positions[1]) != 1 or part.concat_or_add_pos != "concat" or part.project_pos_dim > 0:
        return None
    return AudioPreprocessor(samples_per_patch=part.samples_per_patch, bands=positions[0], max_resolution=positions[1][0])


def _one_hot(part: Any, config: EncoderConfig) -> nn.Module:
    return OneHotPreprocessor(num_labels=part.config.num_labels)


def _multimodal(part: Any, config: EncoderConfig) -> nn.Module | None:
    modalities = {name: converted(each, PREPROCESSORS, config) for name, each in part.modalities.items()}
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
