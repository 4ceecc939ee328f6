"""A clip's frames one by one, whatever holds them: a video file, a GIF, a folder or series of pictures, a `.npy` array.

Only one frame is in memory at a time. Video files need PyAV (the extra `video`), the others Pillow at most.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.arrays import read_array, read_header
from perceiver_runtime.files.containers.library import CONTAINERS
from perceiver_runtime.files.containers.reading import TimedFrame, read_facts, read_frames
from perceiver_runtime.files.images import opened
from perceiver_runtime.files.picture_series import PICTURES, is_pattern, pictures_of, read_series

USUAL_RATE = 25.0  # frames a second, of pictures that have no times
KINDS = (
    "a video file (mp4, mov, mkv, webm, avi), a folder of pictures, names such as frame_%04d.png, an animated GIF, "
    "or a .npy array (T, H, W, 3)"
)
_EARLY = 1e-6  # seconds by which a frame's time may be rounded


@dataclass(frozen=True)
class Video:
    """A clip to go through frame by frame, as often as you like.

    >>> for frame in perceiver_runtime.open_video("clip.mp4"):      # uint8 (H, W, 3), upright
    ...     pass

    `rate` is in frames a second, on average; `count` frames and `seconds` are None where the file does not say. `timed` is
    whether frames have times of their own: pictures have those of `rate`.
    """

    path: Path
    height: int
    width: int
    rate: float
    count: int | None
    seconds: float | None
    timed: bool
    has_sound: bool
    _read: Callable[[float], Generator[TimedFrame, None, None]]  # about from a second on

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """The frames."""
        return (frame.pixels for frame in self.frames())

    def frames(self, *, start: float = 0.0, seconds: float | None = None, every: int = 1) -> Generator[TimedFrame, None, None]:
        """Frames and their times in seconds after the first: those from `start` on, for `seconds`, every `every`th of them.

        Raises `InputError`, also where there is none, `BackendError`; warns with `DamagedFileWarning` where some of the file
        cannot be read.
        """
        _check_part(start, seconds)
        step, number = whole_number("every", every, InputError), 0
        with contextlib.closing(self._read(start)) as frames:
            for frame in frames:
                if frame.seconds < start - _EARLY:
                    continue
                if seconds is not None and frame.seconds >= start + seconds - _EARLY:
                    break
                if number % step == 0:
                    yield frame
                number += 1
        if number == 0:
            length = "" if self.seconds is None else f", it is {self.seconds:.2f} s long"
            raise InputError(f"{self.path} has no frame from {start:g} s on{length}: give an earlier start")

    def expected(self, *, start: float = 0.0, seconds: float | None = None, every: int = 1) -> int | None:
        """About how many frames `frames` gives, as the header says; None where it does not."""
        if self.count is None:
            return None
        count = self.count - math.ceil(start * self.rate - _EARLY)
        if seconds is not None:
            count = min(count, math.ceil(seconds * self.rate - _EARLY))
        return max(0, -(-count // every))


def open_video(path: str | Path, *, rate: float | None = None) -> Video:
    """A clip by its name: the ending decides, or that it is a folder, or that it has a number to fill in (`frame_%04d.png`).

    `rate` is for pictures and arrays, which have no times: frames a second, 25 by default. Raises `InputError`, also for a
    still picture, `BackendError` where PyAV or Pillow is needed and missing.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    if rate is not None and (isinstance(rate, bool) or not 0 < rate < math.inf):
        raise InputError(f"the rate is {rate}: give frames a second, more than 0")
    if path.is_dir() or is_pattern(path):
        return _series(path, rate or USUAL_RATE)
    if not path.is_file():
        raise InputError(f"there is no clip {path}")
    opener = _OPENERS.get(ending)
    if opener is None:
        still = ending in PICTURES
        raise InputError(f"{path} is {'a still picture' if still else 'no clip'}: give {KINDS}")
    if rate is not None and ending != ".npy":
        raise InputError(f"{path} has times of its own: leave out the rate")
    return opener(path, rate or USUAL_RATE)


def is_video_file(path: str | Path) -> bool:
    """Whether the name is that of a video file, which has times and perhaps sound; not a folder of that name."""
    return Path(path).suffix.lower() in CONTAINERS and not Path(path).is_dir()


def _container(path: Path, rate: float) -> Video:
    facts = read_facts(path)
    return Video(
        path,
        facts.height,
        facts.width,
        facts.rate,
        facts.count,
        facts.seconds,
        True,
        facts.has_sound,
        partial(read_frames, path),
    )


def _series(path: Path, rate: float) -> Video:
    names = pictures_of(path)
    height, width = next(read_series(names[:1])).shape[:2]
    return _untimed(path, height, width, rate, len(names), lambda first: read_series(names, first))


def _array(path: Path, rate: float) -> Video:
    try:
        with path.open("rb") as file:
            shape = read_header(file).shape
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a numpy array: {error}") from error
    if len(shape) != 4 or 0 in shape:
        raise InputError(f"{path} holds an array of shape {shape}, expected a clip (T, H, W, 3)")

    def read(first: int) -> Iterator[NDArray[Any]]:
        return (read_array(path, rows=slice(number, number + 1))[0] for number in range(first, shape[0]))

    return _untimed(path, shape[1], shape[2], rate, shape[0], read)


def _untimed(
    path: Path, height: int, width: int, rate: float, count: int, read: Callable[[int], Iterator[NDArray[Any]]]
) -> Video:
    """Of pictures, the first of which is number 0."""

    def frames(start: float) -> Generator[TimedFrame, None, None]:
        first = min(count, max(0, math.ceil(start * rate - _EARLY)))
        if first < count:
            for number, picture in enumerate(read(first), first):
                yield TimedFrame(number / rate, picture)

    return Video(path, height, width, rate, count, count / rate, False, False, frames)


def _gif(path: Path, rate: float) -> Video:
    with opened(path, ("GIF",), "a GIF") as image:
        count, size = image.n_frames, image.size
        milliseconds = 0.0
        for number in range(count):
            image.seek(number)
            milliseconds += _shown(image)
    seconds = milliseconds / 1000
    return Video(path, size[1], size[0], count / seconds, count, seconds, True, False, lambda _: _gif_frames(path))


def _gif_frames(path: Path) -> Generator[TimedFrame, None, None]:
    with opened(path, ("GIF",), "a GIF") as image:
        size, seconds = image.size, 0.0
        for number in range(image.n_frames):
            image.seek(number)
            if image.size != size:
                raise InputError(f"{path} has frames of different sizes: save it again")
            yield TimedFrame(seconds, np.asarray(image.convert("RGB")))
            seconds += _shown(image) / 1000


def _shown(image: Any) -> float:
    """Milliseconds that a GIF's frame is shown; viewers take a tenth of a second where the file says none."""
    duration = float(image.info.get("duration", 0))
    return duration if duration >= 20 else 100.0


def _check_part(start: float, seconds: float | None) -> None:
    if not (isinstance(start, (int, float)) and 0 <= start < math.inf):
        raise InputError(f"the part of the clip is to begin at {start} s: give a number from 0")
    if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds < math.inf):
        raise InputError(f"the part of the clip is to last {seconds} s: give a number more than 0")


_OPENERS: dict[str, Callable[[Path, float], Video]] = {
    **dict.fromkeys(CONTAINERS, _container),
    ".gif": _gif,
    ".npy": _array,
}
