"""Whole clips in memory: read from, and written to, what frames.py and clip_writers.py read and write frame by frame."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.arrays import read_array
from perceiver_runtime.files.clip_writers import clip_writer
from perceiver_runtime.files.containers.sound import read_track
from perceiver_runtime.files.frames import Video, is_video_file, open_video
from perceiver_runtime.files.images import MAX_TOTAL_PIXELS, read_images
from perceiver_runtime.files.picture_series import is_pattern, pictures_of
from perceiver_runtime.files.wav import Sound, read_wav

MAX_FRAMES = 4096


def read_video(path: str | Path, *, start: int | None = None, frames: int | None = None) -> NDArray[Any]:
    """A clip as uint8 (T, H, W, 3): see `open_video` for what holds one, and for reading frame by frame.

    A `.npy` file (T, H, W, 3) is taken as it is. With `start`, from that frame on, and with `frames`, so many. Raises
    `InputError`, also for a still picture and for more than 4096 frames, `BackendError`.
    """
    path = Path(path)
    if not (path.is_dir() or is_pattern(path)):
        video = open_video(path)
        if video.timed:
            return _collected(video, start, frames)
        return read_array(path, rows=_part(path, video.count or 0, start, frames))
    names = pictures_of(path)
    pictures = read_images(names[_part(path, len(names), start, frames)])
    kinds = {(picture.shape, str(picture.dtype)) for picture in pictures}
    if len(kinds) > 1:
        raise InputError(f"the pictures in {path} differ in size: {', '.join(str(shape) for shape, _ in sorted(kinds)[:3])}")
    return np.stack(pictures)


def write_video(
    path: str | Path, frames: NDArray[np.uint8], *, frames_per_second: float = 25.0, sound: Sound | None = None
) -> None:
    """uint8 (T, H, W, 3) as an MP4 (`.mp4`, with PyAV), an animated GIF (`.gif`), or with no ending a folder of PNG pictures.

    A GIF keeps every frame, also those that are like the one before, with 256 colours each. An MP4 takes a `sound` too, whose
    channels are mixed to one. Any other ending raises `InputError`, as do a folder that holds other pictures and what cannot
    be written; then nothing is there that was not.
    """
    path = Path(path)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"the frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3)")
    if sound is not None and path.suffix.lower() != ".mp4":
        raise InputError(f"{path} holds no sound: give a name that ends in .mp4")
    with clip_writer(path, frames_per_second, sound_rate=None if sound is None else sound.rate) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number / frames_per_second)
        if sound is not None:
            writer.write_sound(sound.samples.mean(axis=1) if sound.samples.ndim == 2 else sound.samples)


def read_sound(sound: Any, *, start: float = 0.0, seconds: float | None = None) -> Sound:
    """The sound of a WAV or a video file, or the part of it from `start` on, at its own rate: float32 (S, channels).

    Taken is what `read_wav` takes, and the path of a video file, of which `start` counts from its first frame. Raises
    `InputError`, also where there is no sound, `BackendError`.
    """
    if not isinstance(sound, (str, os.PathLike)) or not is_video_file(os.fsdecode(sound)):
        return read_wav(sound, start=start, seconds=seconds)
    path = Path(os.fsdecode(sound))
    found = read_track(path, start=start, seconds=seconds)
    if found is None or len(found.samples) == 0:
        raise InputError(f"{path} has no sound{f' at {start:g} s' if found else ''}: give a WAV file, or another part")
    return found


def _collected(video: Video, start: int | None, frames: int | None) -> NDArray[Any]:
    """Frames of a file that has to be decoded from its beginning, whose header may not say how many there are."""
    first, pixels = start or 0, video.height * video.width
    most = min(MAX_FRAMES, MAX_TOTAL_PIXELS // pixels) if frames is None else frames
    if frames is not None and frames * pixels > MAX_TOTAL_PIXELS:
        raise InputError(f"{frames} frames of {video.width}x{video.height} are more than is allowed at once: take fewer")
    found = [frame.pixels for frame in islice(video.frames(), first, first + most + (frames is None))]
    if frames is None and len(found) > most:
        raise InputError(f"{video.path} has more than the {most} frames allowed at once: take a part of it, or use open_video")
    if (frames is not None and len(found) < frames) or not found:
        total = len(found) + first if found else sum(1 for _ in video.frames())
        _part(video.path, total, start, frames)
    return np.stack(found)


def _part(path: Path, total: int, start: int | None, frames: int | None) -> slice:
    """Which frames of `total` are asked for. Raises `InputError` where they are not there."""
    if start is None and frames is None:
        if total > MAX_FRAMES:
            raise InputError(f"{path} has {total} frames, more than the {MAX_FRAMES} allowed: take a part of it")
        return slice(0, total)
    first = 0 if start is None else start
    count = total - first if frames is None else frames
    if total < max(1, 0 if frames is None else frames):
        raise InputError(f"{path} has {total} frames, {frames} are needed: give a longer clip")
    last = total - 1 if frames is None else total - frames
    if not 0 <= first <= last:
        raise InputError(f"{path} has {total} frames: the first of {count} can be number 0 to {last}, not {first}")
    return slice(first, first + count)
