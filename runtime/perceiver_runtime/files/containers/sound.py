"""The sound of a video file at its own rate, piece by piece, in time with its frames."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import DamagedFileWarning, InputError
from perceiver_runtime.files.containers.library import FAULTS, opened_container, pyav, reason, video_stream
from perceiver_runtime.files.wav import MAX_CHANNELS, MAX_SECONDS, Sound

Samples = NDArray[np.float32]
_PRIMING = 0.2  # seconds that a decoder gets before the part that is asked for
_GAP = 0.05  # seconds without sound from which on silence stands for them


class SoundTrack:
    """Sound from `start` seconds after the first frame on: `take` gives the next samples, None where the file has no sound."""

    def __init__(self, path: Path, start: float = 0.0) -> None:
        self.path, self.rate, self.channels = path, 0, 0
        with opened_container(path) as container:
            if container.streams.audio:
                stream = container.streams.audio[0]
                if stream.codec_context is None:
                    raise InputError(f"{path} holds sound of a kind that PyAV's libraries do not know: convert it to AAC")
                self.rate, self.channels = int(stream.rate or 0), int(stream.codec_context.channels)
        if self.rate and not 1 <= self.channels <= MAX_CHANNELS:
            raise InputError(f"{path} has sound of {self.channels} channels, {MAX_CHANNELS} at most are allowed: mix them down")
        self._pieces = _pieces(path, start, self.rate) if self.rate else iter(())
        self._left: Samples = np.zeros((0, max(1, self.channels)), np.float32)

    def take(self, count: int) -> Samples:
        """The next `count` samples (count, channels), fewer at the end."""
        parts, found = [self._left], len(self._left)
        while found < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            found += len(piece)
        joined = np.concatenate(parts)
        self._left = joined[count:].copy()
        return joined[:count]


def read_track(path: Path, *, start: float = 0.0, seconds: float | None = None) -> Sound | None:
    """The sound of a video file, or its part, as `read_wav` gives a WAV's; None where it has none. Raises `InputError`."""
    track = SoundTrack(path, start)
    if not track.rate:
        return None
    most = MAX_SECONDS * track.rate
    samples = track.take(most + 1 if seconds is None else int(np.ceil(round(seconds * track.rate, 6))))
    if len(samples) > most:
        raise InputError(f"{path} is longer than {MAX_SECONDS} s: cut it, or read a part")
    return Sound(samples, track.rate)


def _pieces(path: Path, start: float, rate: int) -> Iterator[Samples]:
    """Samples (n, channels), joined without gaps: silence stands where the file has none."""
    library = pyav(path.name)
    with opened_container(path) as container:
        stream = container.streams.audio[0]
        origin = 0.0
        if container.streams.video:
            picture = video_stream(path, container)
            origin = float((picture.start_time or 0) * picture.time_base)
        if start > _PRIMING:
            with contextlib.suppress(library.error.FFmpegError):
                container.seek(int((start - _PRIMING + origin) / stream.time_base), stream=stream)
        resampler = library.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
        place = 0  # of the next sample, counted from `start`
        for frame in _frames(path, container, stream, library):
            samples = np.concatenate([part.to_ndarray() for part in resampler.resample(frame)], axis=1).T
            first = place if frame.time is None else round((frame.time - origin - start) * rate)
            if first < place:
                samples = samples[place - first :] if first < 0 and place == 0 else samples
            elif first - place > (_GAP * rate if place else 0):
                yield np.zeros((min(first - place, MAX_SECONDS * rate), samples.shape[1]), np.float32)
                place = first
            place += len(samples)
            if len(samples):
                yield np.ascontiguousarray(samples, np.float32)


def _frames(path: Path, container: Any, stream: Any, library: Any) -> Iterator[Any]:
    try:
        for packet in container.demux(stream):
            yield from packet.decode()
    except library.error.EOFError:
        return
    except (library.error.FFmpegError, *FAULTS) as error:
        warnings.warn(
            f"the sound of {path} is damaged ({reason(error)}): what comes before is used", DamagedFileWarning, stacklevel=2
        )
