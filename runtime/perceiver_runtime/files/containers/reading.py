"""Frames of a video file, one by one, upright, each with its own time; never the whole file in memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import DamagedFileWarning, InputError
from perceiver_runtime.files.containers.library import FAULTS, opened_container, pyav, reason, video_stream

_BT709 = 1  # the number of this colour space in video files
_TOLERANCE = 1e-6  # seconds: times are fractions, rounded


class TimedFrame(NamedTuple):
    """A frame (H, W, 3), uint8 unless its file holds others, and its time in seconds after the first frame."""

    seconds: float
    pixels: NDArray[Any]


@dataclass(frozen=True)
class Facts:
    """What a file's header says. `count` and `seconds` are None where it does not say."""

    height: int  # upright
    width: int
    rate: float  # frames a second, on average
    count: int | None
    seconds: float | None
    has_sound: bool


def read_facts(path: Path) -> Facts:
    """Of a video file; its first frame is decoded, for what turns it upright. Raises `InputError`, `BackendError`."""
    with contextlib.closing(read_frames(path)) as frames:
        height, width = next(frames).pixels.shape[:2]
    with opened_container(path) as container:
        stream = video_stream(path, container)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = _duration(container, stream)
        count = stream.frames or (None if seconds is None else round(seconds * rate))
        return Facts(height, width, rate, count or None, seconds, bool(container.streams.audio))


def read_frames(path: Path, start: float = 0.0) -> Generator[TimedFrame, None, None]:
    """The frames from about `start` seconds on, some earlier ones perhaps before them.

    Where a part cannot be decoded, the rest is read and a `DamagedFileWarning` says how much is missing. Raises
    `InputError`, also where nothing can be decoded, `BackendError`.
    """
    sought = start > 0
    for frame in _decoded(path, start):
        if sought and frame.seconds > start + _TOLERANCE:  # the index is wrong: earlier frames were passed over
            yield from _decoded(path, 0.0)
            return
        sought = False
        yield frame


def _decoded(path: Path, start: float) -> Generator[TimedFrame, None, None]:
    library = pyav(path.name)
    with opened_container(path) as container:
        stream = video_stream(path, container)
        origin = float((stream.start_time or 0) * stream.time_base)
        step = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        if start > 0:
            with contextlib.suppress(library.error.FFmpegError):  # no index: frames are read from the first on
                container.seek(int((start + origin) / stream.time_base), stream=stream)
        count, damaged, seconds, shape, stopped = 0, 0, -step, None, ""
        for frames in _groups(container, stream, library):
            if isinstance(frames, Exception):
                damaged, stopped = damaged + 1, reason(frames)
                continue
            for frame in frames:
                seconds = seconds + step if frame.time is None else frame.time - origin
                pixels = upright(path, frame)
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    raise InputError(f"{path} has frames of different sizes, {shape[1]}x{shape[0]} first: save it again")
                count, damaged = count + 1, damaged + bool(frame.is_corrupt)
                yield TimedFrame(seconds, pixels)
        if count == 0 and start <= 0:
            raise InputError(f"{path} holds no frame that can be decoded ({stopped or 'it is cut short'}): save it again")
        _warn(path, damaged, seconds + step, _duration(container, stream), step)


def _groups(container: Any, stream: Any, library: Any) -> Iterator[Any]:
    """The frames of each packet, or what was raised in their place."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield packet.decode()
        except library.error.EOFError:
            return
        except (library.error.FFmpegError, *FAULTS) as error:
            yield error
            if packet is None or packet.size == 0:
                return


def _warn(path: Path, damaged: int, found: float, said: float | None, step: float) -> None:
    missing = 0.0 if said is None else said - found
    if damaged or missing > max(2.5 * step, 0.1):
        parts = [f"{damaged} of its parts could not be decoded or are blurred"] if damaged else []
        parts += [f"it ends {missing:.2f} s before the end that it says"] if missing > max(2.5 * step, 0.1) else []
        warnings.warn(
            f"{path} is damaged: {', and '.join(parts)}; what could be read is used", DamagedFileWarning, stacklevel=2
        )


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def upright(path: Path, frame: Any) -> NDArray[np.uint8]:
    """A decoded frame as uint8 (H, W, 3), of any depth and colour space, turned as its file says. Raises `InputError`."""
    quarters, rest = divmod(round(frame.rotation), 90)
    if rest:
        raise InputError(f"{path} is to be shown turned by {frame.rotation} degrees: save it upright")
    told = {"src_colorspace": _BT709} if frame.colorspace == _BT709 else {}  # PyAV before 17 does not look
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", **told)
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters % 4 else pixels
