"""Long clips in windows of as many frames as a model takes, each with its sound.

A video file is sampled at the model's own rate, so that frames and sound cover the same time whatever its rate is; pictures,
which have no times, are taken one after the other. The last window is filled up with its last frame and silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
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
from perceiver_runtime.processing.multimodal import MultimodalProcessor

_EARLY = 1e-6  # seconds by which a time may be rounded


@dataclass(frozen=True)
class Window:
    """frames (T, H, W, 3), of which `count` are the clip's; their sound, None for silence; `start` in seconds."""

    frames: NDArray[Any]
    count: int
    sound: Sound | None
    start: float


def windows_of(
    video: Video,
    processor: MultimodalProcessor,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    sound: str | Path | None = None,
    sound_start: float = 0.0,
    silent: bool = False,
) -> Iterator[Window]:
    """The windows of a clip from `start` on. The sound is the file `sound`'s, or a video file's own. Raises `InputError`."""
    rate = frame_rate(processor)
    if video.timed:
        chosen = at_rate(video.frames(start=start, seconds=seconds), rate, start, 1 / video.rate)
    else:
        chosen = (frame.pixels for frame in video.frames(start=start, seconds=seconds))
    length = processor.frames / rate
    heard = _sounds(video, length, start, sound, sound_start) if not silent else iter(())
    number = 0
    while frames := list(islice(chosen, processor.frames)):
        count = len(frames)
        frames += [frames[-1]] * (processor.frames - count)
        yield Window(np.stack(frames), count, next(heard, None), start + number * length)
        number += 1


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
