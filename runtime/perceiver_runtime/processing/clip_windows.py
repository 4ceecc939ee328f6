"""Clips in windows of as many frames as a model takes, each with its sound: the one way from a clip to a model's input.

A video file is sampled at the model's own rate, so that frames and sound cover the same time whatever its rate is; pictures,
which have no times, are taken one after the other. The last window is filled up with its last frame and silence.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.containers.reading import TimedFrame
from perceiver_runtime.files.containers.sound import SoundTrack
from perceiver_runtime.files.frames import Video, is_video_file
from perceiver_runtime.files.videos import read_sound
from perceiver_runtime.files.wav import Sound
from perceiver_runtime.processing.multimodal import MultimodalProcessor, sound_at

Heard = Any  # a `Sound`, samples at the model's rate, or None for silence
_EARLY = 1e-6  # seconds by which a time may be rounded


@dataclass(frozen=True)
class Window:
    """Frames (T, H, W, 3), of which `count` are the clip's; their sound, None for silence; `start` in seconds."""

    frames: NDArray[Any] | list[NDArray[Any]]
    count: int
    sound: Heard
    start: float


def windows_of(
    clip: NDArray[Any] | list[NDArray[Any]] | Video,
    processor: MultimodalProcessor,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    sound: Heard = None,
    sound_start: float = 0.0,
    silent: bool = False,
) -> Generator[Window, None, None]:
    """The windows of what `read_clip` gives, from `start` on; frames in memory, and no more pictures than fit, are one.

    The sound is what is given, or of the file `sound` from `sound_start` on, or a video file's own. Raises `InputError`.
    """
    if not isinstance(clip, Video) or _fits(clip, processor):
        frames = clip if not isinstance(clip, Video) else list(clip)
        length = processor.audio_samples / processor.sampling_rate
        is_file = isinstance(sound, (str, Path))
        whole = read_sound(sound, start=sound_start, seconds=length) if is_file else sound
        yield Window(frames, len(frames), None if silent else whole, start)
        return
    video, rate = clip, frame_rate(processor)
    if is_video_file(video.path):
        chosen = at_rate(video.frames(start=start, seconds=seconds), rate, start, 1 / video.rate)
    else:
        chosen = (frame.pixels for frame in video.frames(start=start, seconds=seconds))
    length = processor.frames / rate
    if silent:
        heard: Iterator[Heard] = iter(())
    elif isinstance(sound, (np.ndarray, tuple)):
        heard = _pieces(
            Sound(*sound_at(sound, None)) if isinstance(sound, tuple) else Sound(sound, processor.sampling_rate), length
        )
    else:
        heard = _sounds(video, length, start, sound, sound_start)
    number = 0
    while frames := list(islice(chosen, processor.frames)):
        found = len(frames)
        frames += [frames[-1]] * (processor.frames - found)
        yield Window(np.stack(frames), found, next(heard, None), start + number * length)
        number += 1


def one_window(windows: Iterator[Window], clip: Any) -> Window:
    """The only one. Raises `InputError` where there are more."""
    first = next(windows)
    if next(windows, None) is not None:
        name = clip.path if isinstance(clip, Video) else "the clip"
        raise InputError(
            f"{name} is longer than the {len(first.frames)} frames that the model takes at once: give those you mean as an "
            "array, such as read_video(path, start=…, frames=…), or go through all with `perceiver run`"
        )
    return first


def _fits(video: Video, processor: MultimodalProcessor) -> bool:
    return not is_video_file(video.path) and video.count is not None and video.count <= processor.frames


def frame_rate(processor: MultimodalProcessor) -> float:
    """Frames a second of what the model was trained on: those of a clip in the time of its sound."""
    return processor.frames * processor.sampling_rate / processor.audio_samples


def at_rate(frames: Iterable[TimedFrame], rate: float, start: float, step: float) -> Iterator[NDArray[Any]]:
    """What is seen at `start`, and every 1/`rate` seconds after it; the last frame is seen for `step` seconds."""
    seen, number = None, 0
    for frame in frames:
        while seen is not None and start + number / rate < frame.seconds - _EARLY:
            yield seen.pixels
            number += 1
        seen = frame
    while seen is not None and start + number / rate < seen.seconds + step - _EARLY:
        yield seen.pixels
        number += 1


def _pieces(sound: Sound, length: float) -> Iterator[Heard]:
    """A sound in pieces of `length` seconds, until it ends."""
    samples, rate = sound
    ends = (round(number * length * rate) for number in count())
    for begin, end in pairwise(ends):
        if begin >= len(samples):
            return
        yield Sound(samples[begin:end], rate)


def _sounds(video: Video, length: float, start: float, path: str | Path | None, sound_start: float) -> Iterator[Sound | None]:
    """The sound of each window of `length` seconds, until it ends."""
    if path is not None and not is_video_file(path):
        yield read_sound(path, start=sound_start, seconds=length)
        number = 1
        while True:
            try:
                yield read_sound(path, start=sound_start + number * length, seconds=length)
            except InputError:  # the file ends before the frames
                return
            number += 1
    if path is None and not video.has_sound:
        return
    track = SoundTrack(video.path if path is None else Path(path), start if path is None else sound_start)
    if path is not None and not track.rate:
        raise InputError(f"{path} has no sound: give a WAV file, or another video")
    given = 0
    for number in range(1, 1 << 40):
        end = round(number * length * track.rate)
        samples = track.take(end - given)
        given = end
        if len(samples) == 0:
            return
        yield Sound(samples, track.rate)
