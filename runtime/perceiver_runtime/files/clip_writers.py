"""Clips written frame by frame: MP4, an animated GIF, a folder of PNG pictures. What the name ends in decides.

Everything goes to a temporary name beside and takes its own at the end; on an error, or where the program is stopped, nothing
is left of it and what was there before stays.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files import gif
from perceiver_runtime.files.containers.library import pyav
from perceiver_runtime.files.containers.writing import Mp4Writer
from perceiver_runtime.files.images import require_pillow, write_image
from perceiver_runtime.files.outputs import replacing
from perceiver_runtime.files.picture_series import PICTURES

Pixels = NDArray[np.uint8]
_KNOWN = "a clip becomes an MP4, with a name that ends in .mp4, an animated GIF, in .gif, or a folder of pictures, in nothing"


class ClipWriter(Protocol):
    """Takes frames uint8 (H, W, 3) of one size, each with its time in seconds, in order."""

    def write(self, frame: Pixels, seconds: float) -> None:
        """One more frame."""


@contextlib.contextmanager
def clip_writer(path: str | Path, rate: float, *, sound_rate: int | None = None) -> Iterator[Any]:
    """What writes a clip of about `rate` frames a second: see `ClipWriter`. With `sound_rate` an MP4 takes `write_sound` too.

    Raises `InputError` for a name that nothing can be written under, and where no frame was written; `BackendError`.
    """
    path = Path(path)
    check_clip_ending(path)
    if not 0 < rate < math.inf:
        raise InputError(f"the rate is {rate}: give frames a second, more than 0")
    with _WRITERS[path.suffix.lower() if not path.is_dir() else ""](path, rate, sound_rate) as writer:
        counted = _Checked(path, writer)
        yield counted
        if counted.frames == 0:
            raise InputError(f"{path} is not written: there was no frame for it")


def check_clip_ending(path: str | Path) -> None:
    """Raise `InputError` where no clip can be written under this name, `BackendError` where its library is missing."""
    path = Path(path)
    ending = path.suffix.lower()
    if path.is_dir():
        if ending in _WRITERS and ending:
            raise InputError(f"{path} cannot be written: it is a folder; give another name")
    elif ending not in _WRITERS:
        raise InputError(f"{path} cannot be written: {_KNOWN}")
    if ending == ".mp4":
        pyav(path.name)
    else:
        require_pillow(path)


class _Checked:
    """The writer, how many frames it took, and of which size they are."""

    def __init__(self, path: Path, writer: Any) -> None:
        self._path, self._writer, self.frames = path, writer, 0
        self._shape: tuple[int, ...] = ()
        self.write_sound: Callable[[Any], None] = getattr(writer, "write_sound", lambda samples: None)

    def write(self, frame: Pixels, seconds: float) -> None:
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise InputError(f"a frame for {self._path} is {found}, expected uint8 (H, W, 3)")
        self._shape = self._shape or frame.shape
        if frame.shape != self._shape or 0 in frame.shape:
            raise InputError(f"a frame for {self._path} is of another size than those before: make all alike")
        self._writer.write(frame, seconds)
        self.frames += 1


@contextlib.contextmanager
def _mp4(path: Path, rate: float, sound_rate: int | None) -> Iterator[Mp4Writer]:
    with replacing(path) as whole:
        writer = Mp4Writer(whole, rate, sound_rate=sound_rate)
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(InputError):
                writer.abandon()
            raise
        writer.close()


@contextlib.contextmanager
def _gif(path: Path, rate: float, sound_rate: int | None) -> Iterator[_Gif]:
    with replacing(path) as whole, whole.open("wb") as file:
        writer = _Gif(path, file, rate)
        yield writer
        writer.close()


class _Gif:
    def __init__(self, path: Path, file: Any, rate: float) -> None:
        self._pillow, self._path, self._file, self._step = require_pillow(path), path, file, 1 / rate
        self._waiting: tuple[bytes, float] | None = None  # a picture, until the next one says how long it is shown
        self._written = 0  # hundredths of a second so far

    def write(self, frame: Pixels, seconds: float) -> None:
        content = io.BytesIO()
        self._pillow.fromarray(frame).save(content, "GIF")
        still = content.getvalue()
        if self._waiting is None:
            self._file.write(gif.header(still))
            self._start = seconds
        self._show_until(seconds)
        self._waiting = (still, seconds)

    def close(self) -> None:
        if self._waiting is not None:
            self._show_until(self._waiting[1] + self._step)
            self._file.write(gif.TRAILER)

    def _show_until(self, seconds: float) -> None:
        if self._waiting is not None:
            hundredths = max(2, round(100 * (seconds - self._start)) - self._written)  # viewers slow down what is faster
            self._file.write(gif.picture(self._waiting[0], hundredths))
            self._written += hundredths


@contextlib.contextmanager
def _folder(path: Path, rate: float, sound_rate: int | None) -> Iterator[ClipWriter]:
    with folder_of(path, lambda name, frame: write_image(name, frame), ".png", PICTURES) as writer:
        yield writer


@contextlib.contextmanager
def folder_of(path: Path, write: Callable[[Path, Any], None], ending: str, alike: tuple[str, ...]) -> Iterator[Any]:
    """A writer of numbered files: into a folder beside, which then takes the place of `path`, or whose files go there.

    A folder that is there must not hold files that end as those `alike` do, but for what is replaced. Raises `InputError`.
    """
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.absolute().parent))
        try:
            _check_folder(path, alike, lambda name: name.stem.isdigit() and name.suffix == ending)
            inside = temporary / "files"
            inside.mkdir()
            yield _Numbered(inside, write, ending)
            if not path.is_dir():
                os.rename(inside, path)
                return
            names = {each.name for each in inside.iterdir()}
            _check_folder(path, alike, lambda name: name.name in names)
            for name in sorted(names):
                os.replace(inside / name, path / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def _check_folder(path: Path, alike: tuple[str, ...], replaced: Callable[[Path], bool]) -> None:
    """Raise `InputError` where the folder holds files like those written that they do not replace."""
    alike_there = [each for each in path.iterdir() if each.suffix.lower() in alike] if path.is_dir() else []
    others = sorted(each.name for each in alike_there if not replaced(each))
    if others:
        raise InputError(f"{path} holds other pictures, {others[0]} among them: give another folder, or empty it")


class _Numbered:
    def __init__(self, folder: Path, write: Callable[[Path, Any], None], ending: str) -> None:
        self._folder, self._write, self._ending, self._count = folder, write, ending, 0

    def write(self, value: Any, seconds: float) -> None:
        self._write(self._folder / f"{self._count:04}{self._ending}", value)
        self._count += 1


_WRITERS: dict[str, Callable[[Path, float, int | None], contextlib.AbstractContextManager[Any]]] = {
    ".mp4": _mp4,
    ".gif": _gif,
    "": _folder,
}
