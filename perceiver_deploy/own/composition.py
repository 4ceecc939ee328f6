"""What a composition of perceiver_io's parts takes and gives, where nobody says otherwise; whether a child can rebuild it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

import perceiver_io as pio
from perceiver_deploy.own.kinds import LARGEST_CHUNK, Arrays, Image, Kind, Labels, OutputKind, Positions, Text
from perceiver_deploy.own.media_kinds import Audio
from perceiver_io.parts.part import PARTS, describe, is_part
from perceiver_io.tasks.features import OUTPUT, POSITIONS
from perceiver_runtime import InputError
from perceiver_runtime.tasks.arrays.signature import QUERIES

MOST_INPUTS = 1 << 12  # vectors, where nothing is said


class Declared(NamedTuple):
    """Kinds by name, and what was assumed."""

    inputs: dict[str, Kind]
    queries: dict[str, Kind]
    outputs: dict[str, OutputKind]
    notes: tuple[str, ...]


def kinds_of(model: nn.Module, inputs: dict[str, Kind] | None = None) -> Declared:
    """The kinds of a `PerceiverModel`'s parts, `inputs` if those are known. Raises `InputError` where they do not say."""
    if type(model) is not pio.PerceiverModel:
        raise InputError(f"what {type(model).__name__} takes and gives nothing says: add --inputs and --outputs")
    decoder = model.decoder
    if decoder is None:
        raise InputError("this composition has no decoder: give it one; the encoder alone is a FeatureExtractor, for features")
    inputs, notes = (inputs, ()) if inputs else _inputs(model)
    read = next((read for kind, read in _DECODERS.items() if isinstance(decoder, kind)), None)
    if read is None:
        raise InputError(f"what queries a {type(decoder).__name__} takes nothing says: add --queries and --outputs")
    queries, outputs, note = read(decoder)
    if model.postprocessor is not None and not isinstance(decoder, pio.ModalitiesDecoder):
        outputs, note = {"outputs": Arrays()}, ""
    return Declared(inputs, queries, outputs, (*notes, *([note] if note else [])))


Decoded = tuple[dict[str, Kind], dict[str, OutputKind], str]  # queries, outputs, what was assumed


def _labels(decoder: Any) -> Decoded:
    count = decoder.output.out_features
    names = tuple(f"LABEL_{number}" for number in range(count))
    return {}, {"logits": Labels(names)}, f"the {count} labels have no names: --outputs logits=labels:@FILE gives them"


def _at_positions(decoder: Any) -> Decoded:
    return {"queries": Positions(len(decoder.positions.max_resolution))}, {"outputs": Arrays()}, ""


def _anything(decoder: Any) -> Decoded:
    channels = decoder.cross_attention.query_norm.normalized_shape[0]
    return {"queries": Arrays(("O", channels), {"O": (1, LARGEST_CHUNK)})}, {"outputs": Arrays()}, ""


def _modalities(decoder: Any) -> Decoded:
    placed = {name: each for name, each in decoder.modalities.items() if isinstance(each, pio.FourierPositions)}
    axes = [QUERIES, *(f"{QUERIES}{number}" for number in range(1, len(placed)))]  # each has as many as it likes
    queries: dict[str, Kind] = {
        f"{name}{POSITIONS}": Arrays((axis, len(each.max_resolution)), {axis: (1, LARGEST_CHUNK)}, values=(-1.0, 1.0))
        for axis, (name, each) in zip(axes, placed.items())
    }
    return queries, {f"{name}{OUTPUT}": Arrays() for name in decoder.modalities}, ""


# by the decoder's class, the first that fits
_DECODERS: dict[type[nn.Module], Callable[[Any], Decoded]] = {
    pio.ClassificationDecoder: _labels,
    pio.ProjectionDecoder: _labels,
    pio.LearnedQueriesDecoder: lambda decoder: ({}, {"outputs": Arrays()}, ""),
    pio.PositionsDecoder: _at_positions,
    pio.VideoDecoder: _at_positions,
    pio.BasicDecoder: _anything,
    pio.ModalitiesDecoder: _modalities,
}


def _inputs(model: Any) -> tuple[dict[str, Kind], tuple[str, ...]]:
    for kind, read in _INPUTS.items():
        if isinstance(model.preprocessor, kind):
            return read(model)
    raise InputError(f"what a {type(model.preprocessor).__name__} takes nothing says: add --inputs")


def _vectors(model: Any) -> tuple[dict[str, Kind], tuple[str, ...]]:
    channels = model.encoder.cross_attention.input_norm.normalized_shape[0]
    note = f"inputs are taken to be up to {MOST_INPUTS} vectors of {channels} channels: --inputs says otherwise"
    return {"inputs": Arrays(("M", channels), {"M": (1, MOST_INPUTS)}, mask="mask")}, (note,)


def _texts(model: Any) -> tuple[dict[str, Kind], tuple[str, ...]]:
    return {"input_ids": Text(model.preprocessor.positions.table.shape[0], mask="mask")}, ()


def _images(model: Any) -> tuple[dict[str, Kind], tuple[str, ...]]:
    config = model.preprocessor.part_arguments["config"]
    grey: dict[str, Any] = {"mean": (0.5,), "std": (0.5,)} if config.image_channels == 1 else {}
    if config.image_channels not in (1, 3):
        shape = (config.image_channels, *config.size)
        return {"pixel_values": Arrays(shape)}, ()
    image = Image(config.size, **grey)
    return {"pixel_values": image}, (
        f"pixels are normalised with mean {image.mean} and std {image.std}: --inputs says otherwise",
    )


def _sounds(model: Any) -> tuple[dict[str, Kind], tuple[str, ...]]:
    config = model.preprocessor.config
    return {"audio": Audio(config.samples, config.sampling_rate)}, ()


_INPUTS: dict[type[nn.Module], Callable[[Any], tuple[dict[str, Kind], tuple[str, ...]]]] = {
    nn.Identity: _vectors,
    pio.TextPreprocessor: _texts,
    pio.ImagePreprocessor: _images,
    pio.SpectrogramPreprocessor: _sounds,
}


def can_be_rebuilt(model: nn.Module) -> bool:
    """Whether its configuration names parts of perceiver_io alone, which a child process has too."""
    if not is_part(model):
        return False
    try:
        return all(PARTS[name].__module__.startswith("perceiver_io.") for name in _names(describe(model)))
    except pio.ConfigError:
        return False


def _names(data: Any) -> list[str]:
    if isinstance(data, dict):
        own = [str(data["part"])] if set(data) == {"part", "arguments"} else []
        return own + [name for value in data.values() for name in _names(value)]
    return [name for value in data for name in _names(value)] if isinstance(data, list) else []
