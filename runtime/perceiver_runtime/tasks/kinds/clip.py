"""Clips: a tuple of frames and sound, what `read_clip` and `read_sound` take."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.files.clips import read_clip, read_sound
from perceiver_runtime.files.videos import read_video
from perceiver_runtime.files.wav import Sound, read_wav, write_wav
from perceiver_runtime.processing.multimodal import MultimodalProcessor
from perceiver_runtime.tasks.kinds.frames import pair_of
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, Row, TextOptions


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    clip = MultimodalProcessor.from_json(dict(constants))
    length = clip.audio_samples / clip.sampling_rate
    help_text = f"a folder of pictures, an animated GIF, or a .npy array; {clip.frames} frames, or more with --start"
    parser.add_argument("clip", help=help_text)
    parser.add_argument("--start", type=int, metavar="N", help="take the frames from number N on")
    parser.add_argument("--audio", metavar="WAV", help=f"the sound of these frames, {length:.2f} s (default: silence)")
    parser.add_argument("--audio-start", type=float, default=0.0, metavar="S", help="take the sound from S seconds on")


def _from_arguments(arguments: argparse.Namespace, constants: Constants) -> list[Any]:
    clip = MultimodalProcessor.from_json(dict(constants))
    taken = {} if arguments.start is None else {"start": arguments.start, "frames": clip.frames}
    frames = read_video(arguments.clip, **taken)
    if not arguments.audio:
        return [(frames, None)]
    seconds = clip.audio_samples / clip.sampling_rate
    return [(frames, read_wav(arguments.audio, start=arguments.audio_start, seconds=seconds))]


def _sample_files(inputs: Mapping[str, Array], folder: Path, constants: Constants) -> list[str]:
    np.save(folder / "video.npy", inputs["video"])
    write_wav(folder / "audio.wav", inputs["audio"], MultimodalProcessor.from_json(dict(constants)).sampling_rate)
    return ["--audio", str(folder / "audio.wav"), "--", str(folder / "video.npy")]


def _reader(constants: Constants) -> Reader:
    processor = MultimodalProcessor.from_json(dict(constants))

    def read(items: list[Any], _: TextOptions) -> Inputs:
        pairs = [pair_of(item, "video, audio (or None)") for item in items]
        return {
            "video": np.concatenate([processor.video(video) for video, _ in pairs]),
            "audio": np.concatenate([processor.audio(audio) for _, audio in pairs]),
        }

    return read


def _read(item: Any) -> tuple[Any, Any]:
    video, audio = pair_of(item, "video, audio (or None)")
    return read_clip(video), read_sound(audio)


def _from_row(row: Row) -> tuple[Any, Any]:
    """Frames and sound; a file's sampling rate goes with its samples, an array's is in `sampling_rate`, or the bundle's."""
    video, sound, rate = read_clip(row["video"]), read_sound(row.get("audio")), row.get("sampling_rate")
    return video, sound if rate is None or sound is None or isinstance(sound, Sound) else Sound(sound, rate)


CLIP = InputKind(
    name="clip",
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    from_sample=lambda inputs: (inputs["video"], inputs["audio"]),
    sample_files=_sample_files,
    reader=_reader,
    columns=("video",),
    optional=("audio",),
    suffixes=(".gif", ".npy"),
    from_row=_from_row,
    read=_read,
    tuples=False,
)
