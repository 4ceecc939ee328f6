"""Sounds: samples at the bundle's rate, or a pair of samples and their rate as `read_wav` gives it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.arrays import read_array
from perceiver_runtime.files.wav import Sound, read_wav
from perceiver_runtime.processing.heads.sounds import SoundProcessor
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, Row, TextOptions, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("inputs", nargs="+", metavar="WAV", help="a WAV file, or .npy samples at the bundle's rate")


def sound_of(value: Any) -> Array | Sound:
    """Samples as they are, or those of a file: a `.npy` file has no rate, a WAV file has its own."""
    if isinstance(value, (np.ndarray, tuple)):
        return value  # type: ignore[return-value]  # its user looks at tuples
    path = Path(str(value))
    if path.suffix.lower() != ".npy":
        return read_wav(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return read_array(path)


def _reader(constants: Constants) -> Reader:
    processor = SoundProcessor.from_json(dict(constants))

    def read(items: list[Any], _: TextOptions) -> Inputs:
        found = []
        for item in items:
            samples = processor(item)
            if len(samples) > processor.samples:
                raise InputError(
                    f"the audio has {len(samples) / processor.sampling_rate:.4g} s, the model takes {processor.seconds:.4g} s: "
                    "cut it"
                )
            found.append(processor.windows(samples)[0].samples)
        return {"audio": processor.batch(found)}

    return read


def _from_row(row: Row) -> Any:
    """A file's rate goes with its samples, an array's is in `sampling_rate`, or the bundle's."""
    sound, rate = sound_of(row["audio"]), row.get("sampling_rate")
    return sound if rate is None or isinstance(sound, tuple) else Sound(sound, rate)


def _from_sample(inputs: Mapping[str, Array]) -> Array:
    return inputs["audio"]


AUDIO = InputKind(
    name="audio",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [sound_of(name) for name in arguments.inputs],
    from_sample=_from_sample,
    sample_files=array_files("audio"),
    reader=_reader,
    columns=("audio",),
    from_row=_from_row,
)
