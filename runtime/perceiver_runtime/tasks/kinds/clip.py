"""Clips: a tuple of frames (T, H, W, 3) and sound, or None for silence."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.files.frames import is_video_file, open_video
from perceiver_runtime.files.videos import read_sound, read_video
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


def clip_windows(arguments: argparse.Namespace, constants: Constants, seconds: float | None = None) -> Iterator[Window]:
    """The windows of the clip that the arguments name, `seconds` of a video file. Raises `InputError`, `UsageError`.

    Of pictures with --start, one window; else all, where there are at least as many as the model takes.
    """
    clip = MultimodalProcessor.from_json(dict(constants))
    if arguments.no_audio and arguments.audio:
        raise UsageError("--audio names a sound, --no-audio wants none: leave one of them out")
    sound = {"sound": arguments.audio, "sound_start": arguments.audio_start, "silent": arguments.no_audio}
    if is_video_file(arguments.clip):
        return windows_of(open_video(arguments.clip), clip, start=arguments.start or 0.0, seconds=seconds, **sound)
    if seconds is not None:
        raise UsageError("--seconds is of video files: choose pictures with --start")
    if arguments.start is not None:
        if arguments.start != int(arguments.start):
            raise UsageError(f"--start is {arguments.start:g}: of pictures it is a number, counted from 0")
        return iter([_window(read_video(arguments.clip, start=int(arguments.start), frames=clip.frames), clip, arguments)])
    pictures = replace(open_video(arguments.clip, rate=None), timed=False)
    if pictures.count is not None and pictures.count <= clip.frames:
        return iter([_window(read_video(arguments.clip), clip, arguments)])
    return windows_of(pictures, clip, **sound)


def _window(frames: Array, clip: MultimodalProcessor, arguments: argparse.Namespace) -> Window:
    seconds = clip.audio_samples / clip.sampling_rate
    sound = None if not arguments.audio else read_sound(arguments.audio, start=arguments.audio_start, seconds=seconds)
    return Window(frames, len(frames), sound, 0.0)


def _from_arguments(arguments: argparse.Namespace, constants: Constants) -> list[Any]:
    """The one clip, or the beginning of a long one that is a video file. Raises `InputError`."""
    with contextlib.closing(_as_generator(clip_windows(arguments, constants))) as windows:
        first = next(windows)
        if not is_video_file(arguments.clip) and next(windows, None) is not None:
            taken = len(first.frames)
            raise InputError(f"{arguments.clip} has more than {taken} pictures, the model takes {taken}: choose with --start")
    return [(first.frames, first.sound)]


def _as_generator(windows: Iterator[Window]) -> Generator[Window, None, None]:
    yield from windows


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


def _from_row(row: Row) -> tuple[Any, Any]:
    """Frames and sound; a file's sampling rate goes with its samples, an array's is in `sampling_rate`, or the bundle's."""
    video, audio = row["video"], row.get("audio")
    frames = video if isinstance(video, np.ndarray) else read_video(str(video))
    if audio is None:
        return frames, None
    if not isinstance(audio, np.ndarray):
        return frames, read_sound(str(audio))
    rate = row.get("sampling_rate")
    return frames, audio if rate is None else Sound(audio, rate)


CLIP = InputKind(
    name="clip",
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    from_sample=lambda inputs: (inputs["video"], inputs["audio"]),
    sample_files=_sample_files,
    reader=_reader,
    columns=("video",),
    from_row=_from_row,
)
