"""Sounds: what `sound_of` takes, samples at the bundle's rate where they have none of their own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.clips import SOUND, sound_of
from perceiver_runtime.files.containers.library import CONTAINERS
from perceiver_runtime.files.wav import SOUNDS, Sound
from perceiver_runtime.processing.heads.sounds import SoundProcessor
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, Row, TextOptions, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    help_text = "a WAV or a video file, or .npy samples at the bundle's rate; several are a batch"
    parser.add_argument("inputs", nargs="+", metavar="SOUND", help=help_text)


def _read(item: Any) -> Array | Sound:
    """Samples, or samples and their rate. Raises `InputError`, also for None: silence has no label."""
    found = sound_of(item)
    if found is None:
        raise InputError(f"the audio is None: give {SOUND.removesuffix(', or None')}")
    return found


def _reader(constants: Constants) -> Reader:
    processor = SoundProcessor.from_json(dict(constants))

    def read(items: list[Any], _: TextOptions) -> Inputs:
        found = []
        for item in items:
            samples = processor(_read(item))
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
    sound, rate = _read(row["audio"]), row.get("sampling_rate")
    return sound if rate is None or isinstance(sound, tuple) else Sound(sound, rate)


def _from_sample(inputs: Mapping[str, Array]) -> Array:
    return inputs["audio"]


AUDIO = InputKind(
    name="audio",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [_read(name) for name in arguments.inputs],
    from_sample=_from_sample,
    sample_files=array_files("audio"),
    reader=_reader,
    columns=("audio",),
    suffixes=(*SOUNDS, *CONTAINERS, ".npy"),
    from_row=_from_row,
    read=_read,
    tuples=False,
    forms={"audio": "bytes"},
)
