"""Clips: a tuple of frames and sound, what `read_clip` and `sound_of` take."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.files.clips import read_clip, sound_of
from perceiver_runtime.files.containers.library import CONTAINERS
from perceiver_runtime.files.frames import Video, is_video_file
from perceiver_runtime.files.videos import read_video
from perceiver_runtime.files.wav import Sound, write_wav
from perceiver_runtime.processing.clip_windows import Window, frame_rate, windows_of
from perceiver_runtime.processing.multimodal import MultimodalProcessor
from perceiver_runtime.tasks.kinds.frames import pair_of
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, Row, TextOptions


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    clip = MultimodalProcessor.from_json(dict(constants))
    length, rate = clip.audio_samples / clip.sampling_rate, frame_rate(clip)
    help_text = f"a video file, taken at {rate:g} frames a second; or {clip.frames} pictures: a folder, a GIF, a .npy array"
    parser.add_argument("clip", help=help_text)
    help_text = "begin at second S of a video file, or at picture number N"
    parser.add_argument("--start", type=float, metavar="S|N", help=help_text)
    help_text = f"the sound of these frames, {length:.2f} s: a WAV or a video file (default: a video file's own, else silence)"
    parser.add_argument("--audio", metavar="FILE", help=help_text)
    parser.add_argument("--audio-start", type=float, default=0.0, metavar="S", help="take the sound from S seconds on")
    parser.add_argument("--no-audio", action="store_true", help="silence, also where a video file has sound")


def clip_windows(
    arguments: argparse.Namespace, constants: Constants, seconds: float | None = None
) -> Generator[Window, None, None]:
    """The windows of the clip that the arguments name, `seconds` of a video file. Raises `InputError`, `UsageError`.

    Of pictures with --start, one window; else all, where there are at least as many as the model takes.
    """
    clip = MultimodalProcessor.from_json(dict(constants))
    if arguments.no_audio and arguments.audio:
        raise UsageError("--audio names a sound, --no-audio wants none: leave one of them out")
    sound = {"sound": arguments.audio, "sound_start": arguments.audio_start, "silent": arguments.no_audio}
    if is_video_file(arguments.clip):
        return windows_of(read_clip(arguments.clip), clip, start=arguments.start or 0.0, seconds=seconds, **sound)
    if seconds is not None:
        raise UsageError("--seconds is of video files: choose pictures with --start")
    if arguments.start is not None:
        if arguments.start != int(arguments.start):
            raise UsageError(f"--start is {arguments.start:g}: of pictures it is a number, counted from 0")
        frames = read_video(arguments.clip, start=int(arguments.start), frames=clip.frames)
        return windows_of(frames, clip, **sound)
    return windows_of(read_clip(arguments.clip), clip, **sound)


def _from_arguments(arguments: argparse.Namespace, constants: Constants) -> list[Any]:
    """The one clip, or the beginning of a long one that is a video file. Raises `InputError`."""
    first = _first(clip_windows(arguments, constants), arguments.clip, "choose with --start")
    return [(first.frames, first.sound)]


def _beginning(clip: Any, sound: Any, processor: MultimodalProcessor) -> Window:
    """The same of an item."""
    name = clip.path if isinstance(clip, Video) else ""
    return _first(windows_of(clip, processor, sound=sound), name, "choose some with read_video")


def _first(windows: Generator[Window, None, None], name: str | Path, way_out: str) -> Window:
    with contextlib.closing(windows):
        first = next(windows)
        if not is_video_file(name) and next(windows, None) is not None:
            taken = len(first.frames)
            raise InputError(f"{name} has more than {taken} pictures, the model takes {taken}: {way_out}")
    return first


def _sample_files(inputs: Mapping[str, Array], folder: Path, constants: Constants) -> list[str]:
    np.save(folder / "video.npy", inputs["video"])
    write_wav(folder / "audio.wav", inputs["audio"], MultimodalProcessor.from_json(dict(constants)).sampling_rate)
    return ["--audio", str(folder / "audio.wav"), "--", str(folder / "video.npy")]


def _reader(constants: Constants) -> Reader:
    processor = MultimodalProcessor.from_json(dict(constants))

    def read(items: list[Any], _: TextOptions) -> Inputs:
        windows = [_beginning(*_read(item), processor) for item in items]
        return {
            "video": np.concatenate([processor.video(window.frames) for window in windows]),
            "audio": np.concatenate([processor.audio(window.sound) for window in windows]),
        }

    return read


def _read(item: Any) -> tuple[Any, Any]:
    video, audio = pair_of(item, "video, audio (or None)")
    return read_clip(video), sound_of(audio)


def _from_row(row: Row) -> tuple[Any, Any]:
    """Frames and sound; a file's sampling rate goes with its samples, an array's is in `sampling_rate`, or the bundle's."""
    video, sound, rate = read_clip(row["video"]), sound_of(row.get("audio")), row.get("sampling_rate")
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
    suffixes=(*CONTAINERS, ".gif", ".npy"),
    from_row=_from_row,
    read=_read,
    tuples=False,
    forms={"audio": "bytes"},
)
