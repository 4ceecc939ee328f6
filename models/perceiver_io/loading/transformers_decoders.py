"""Decoders and postprocessors of transformers as this package's, tensor by tensor. transformers is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from perceiver_io.config import DecoderConfig, EncoderConfig
from perceiver_io.config_json import ConfigError
from perceiver_io.loading.huggingface_names import tensor_name
from perceiver_io.loading.transformers_parts import OWN_METHODS, converted, fill, fourier
from perceiver_io.parts.decoders import BasicDecoder, ClassificationDecoder, ProjectionDecoder, VideoDecoder
from perceiver_io.parts.positions import FourierPositions, TrainablePositions
from perceiver_io.parts.postprocessors import (
    AudioPostprocessor,
    ClassificationPostprocessor,
    MultimodalPostprocessor,
    ProjectionPostprocessor,
)
from perceiver_io.parts.queried_decoders import LearnedQueriesDecoder, ModalitiesDecoder, PositionsDecoder


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
        positions = fourier(part.output_position_encodings)
        if positions is None or isinstance(part.positions_projection, nn.Linear):
            return None
        ours = PositionsDecoder(decoder, config, bands=positions[0], max_resolution=positions[1], output_channels=outputs)
    return fill(ours, state, _basic_names)  # type: ignore[no-any-return]


def _classification(part: Any, config: EncoderConfig) -> nn.Module | None:
    return _basic(part.decoder, config, first_only=True)


def _projection(part: Any, config: EncoderConfig) -> nn.Module:
    ours = ProjectionDecoder(config, num_labels=part.classifier.out_features)
    return fill(ours, part.state_dict(), lambda name: name.replace("output.", "classifier."))  # type: ignore[no-any-return]


def _video_decoder(part: Any, config: EncoderConfig) -> nn.Module | None:
    basic = part.decoder
    positions = fourier(basic.output_position_encodings)
    if basic.concat_preprocessed_input or positions is None or isinstance(basic.positions_projection, nn.Linear):
        return None
    frames, height, width = (int(size) for size in part.output_shape[1:])
    ours = VideoDecoder(
        _decoder_config(basic), config, size=(frames, height, width), bands=positions[0], max_resolution=positions[1],
        output_channels=basic.final_layer.out_features,
    )  # fmt: skip
    return fill(ours, basic.state_dict(), _basic_names)  # type: ignore[no-any-return]


def _modalities(part: Any, config: EncoderConfig) -> nn.Module:
    tables = {name: _query_table(name, each) for name, each in part.modalities.items()}
    last = part.decoder.final_layer
    ours = ModalitiesDecoder(
        _decoder_config(part.decoder), config, modalities=tables, min_padding=part.min_padding_size,
        output_channels=last.out_features if isinstance(last, nn.Linear) else None,
    )  # fmt: skip
    state = {name: tensor for name, tensor in part.state_dict().items() if not name.startswith("modalities.")}
    own = {f"modalities.{name}.{key}": value for name, table in tables.items() for key, value in table.state_dict().items()}

    def their_name(name: str) -> str:
        return f"decoder.{_basic_names(name.removeprefix('decoder.'))}" if name.startswith("decoder.") else name

    return fill(ours, {**state, **own}, their_name)  # type: ignore[no-any-return]


def _query_table(name: str, part: Any) -> nn.Module:
    """What makes a modality's queries. Raises `ConfigError` for queries that are neither a table nor positions."""
    basic = getattr(part, "decoder", part)  # that of a classification or video decoder
    kind = getattr(basic, "position_encoding_type", None) if type(part).__module__.startswith("transformers.") else None
    projection: Any = getattr(basic, "positions_projection", None)
    if kind == "trainable" and not basic.concat_preprocessed_input:
        table = projection(basic.output_position_encodings.position_embeddings).detach()
        ours = TrainablePositions(*table.shape)
        ours.load_state_dict({"table": table})
        return ours
    positions = fourier(basic.output_position_encodings) if kind == "fourier" else None
    if positions is None or isinstance(projection, nn.Linear) or basic.concat_preprocessed_input:
        raise ConfigError(
            f"the multimodal decoder's queries of {name} ({type(part).__name__}) are no learned table and no plain Fourier "
            f"positions: {OWN_METHODS}"
        )
    return FourierPositions(*positions)


DECODERS: dict[str, Callable[[Any, EncoderConfig], nn.Module | None]] = {
    "PerceiverProjectionDecoder": _projection,
    "PerceiverBasicDecoder": _basic,
    "PerceiverClassificationDecoder": _classification,
    "PerceiverBasicVideoAutoencodingDecoder": _video_decoder,
    "PerceiverMultimodalDecoder": _modalities,
}


def _classifier(kind: Callable[[int, int], nn.Module]) -> Callable[[Any, EncoderConfig], nn.Module]:
    def convert(part: Any, config: EncoderConfig) -> nn.Module:
        ours = kind(part.classifier.in_features, part.classifier.out_features)
        return fill(ours, part.state_dict(), lambda name: name.replace("projection.", "classifier."))  # type: ignore[no-any-return]

    return convert


def _several(part: Any, config: EncoderConfig) -> nn.Module | None:
    modalities = {name: converted(each, POSTPROCESSORS, config) for name, each in part.modalities.items()}
    return None if None in modalities.values() else MultimodalPostprocessor(modalities)


POSTPROCESSORS: dict[str, Callable[[Any, EncoderConfig], nn.Module | None]] = {
    "PerceiverProjectionPostprocessor": _classifier(ProjectionPostprocessor),
    "PerceiverClassificationPostprocessor": _classifier(ClassificationPostprocessor),
    "PerceiverAudioPostprocessor": _classifier(AudioPostprocessor),
    "PerceiverMultimodalPostprocessor": _several,
}
