"""Clips in files: a folder of pictures, an animated GIF, or `.npy`; Pillow reads and writes the pictures.

What a name ends in decides: `.gif`, `.npy`, and for a folder nothing, or the name of one that is there. Only the frames asked
for are decoded, and their size is bounded before the first is.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.arrays import read_array, read_header
from perceiver_runtime.files.gif import animated
from perceiver_runtime.files.images import MAX_TOTAL_PIXELS, opened, read_images, require_pillow, write_image
from perceiver_runtime.files.outputs import replacing

MAX_FRAMES = 4096
PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".npy")


def read_video(path: str | Path, *, start: int | None = None, frames: int | None = None) -> NDArray[Any]:
    """A clip as uint8 (T, H, W, 3): a folder's pictures in the order of the numbers in their names, or a GIF's frames.

    A `.npy` file (T, H, W, 3) is taken as it is. With `start`, from that frame on, and with `frames`, so many. Hidden files of
    a folder are not looked at. Raises `InputError`, also for a still picture, `BackendError`.
    """
    path = Path(path)
    if path.is_dir():
        names = _pictures(path)
        return _stacked(path, read_images(names[_part(path, len(names), start, frames)]))
    if not path.is_file():
        raise InputError(f"there is no clip {path}")
    if path.suffix.lower() == ".gif":
        return _read_gif(path, start, frames)
    if path.suffix.lower() != ".npy":
        raise InputError(f"{path} is no clip: give a folder of pictures, an animated GIF, or a .npy array (T, H, W, 3)")
    try:
        with path.open("rb") as file:
            shape = read_header(file).shape
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a numpy array: {error}") from error
    if len(shape) != 4:
        raise InputError(f"{path} holds an array of shape {shape}, expected a clip (T, H, W, 3)")
    return read_array(path, rows=_part(path, shape[0], start, frames))


def write_video(path: str | Path, frames: NDArray[np.uint8], *, frames_per_second: float = 25.0) -> None:
    """uint8 (T, H, W, 3) as an animated GIF, or where `path` ends in nothing as a folder of PNG pictures.

    A GIF keeps every frame, also those that are like the one before, with 256 colours each. Any other ending raises
    `InputError`, as do a folder that holds other pictures and what cannot be written; then nothing is there that was not.
    """
    path = Path(path)
    check_clip_ending(path)
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"the frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3)")
    if path.suffix.lower() != ".gif":
        _write_folder(path, frames)
        return
    pillow = require_pillow(path)
    hundredths = max(2, round(100 / frames_per_second))  # viewers slow down what is faster
    stills = []
    for frame in frames:
        still = io.BytesIO()
        pillow.fromarray(frame).save(still, "GIF")
        stills.append(still.getvalue())
    with replacing(path) as whole:
        whole.write_bytes(animated(stills, hundredths))


def check_clip_ending(path: str | Path) -> None:
    """Raise `InputError` where no clip can be written under this name, before any work is done for it."""
    path = Path(path)
    if path.suffix.lower() not in ("", ".gif") and not path.is_dir():
        raise InputError(
            f"{path} cannot be written: a clip becomes an animated GIF, with a name that ends in .gif, or a folder of "
            "pictures, with one that ends in nothing; other programs make videos of those"
        )
    if path.suffix.lower() == ".gif" and path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder; give another name")


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


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in order, without hidden files such as macOS's `._0.png`. Raises `InputError`."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    if not found:
        raise InputError(f"{folder} holds no pictures: expected {', '.join(PICTURES)}")
    twice = [stem for stem, count in Counter(path.stem for path in found).items() if count > 1]
    if twice:
        raise InputError(f"{folder} holds {min(twice)} in several formats: keep one of them")
    return sorted(found, key=natural_order)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """What to sort names by: frame2 before frame10; the name itself last, for names of the same numbers."""
    parts = re.split(r"([0-9]+)", path.name)
    return [*((int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)), (-1, path.name)]


def _stacked(path: Path, frames: list[NDArray[Any]]) -> NDArray[Any]:
    kinds = {(frame.shape, str(frame.dtype)) for frame in frames}
    if len(kinds) > 1:
        raise InputError(f"the pictures in {path} differ in size: {', '.join(str(shape) for shape, _ in sorted(kinds)[:3])}")
    return np.stack(frames)


def _read_gif(path: Path, start: int | None, frames: int | None) -> NDArray[np.uint8]:
    with opened(path, ("GIF",), "a GIF") as image:
        size, part = image.size, _part(path, image.n_frames, start, frames)
        count = part.stop - part.start
        if count * size[0] * size[1] > MAX_TOTAL_PIXELS:
            raise InputError(f"{path} has {count} frames of {size[0]}x{size[1]}, more than is allowed: take a part of it")
        found = np.empty((count, size[1], size[0], 3), np.uint8)
        for number in range(part.stop):
            image.seek(number)
            if image.size != size:
                raise InputError(f"{path} has frames of different sizes: save it again")
            if number >= part.start:
                found[number - part.start] = np.asarray(image.convert("RGB"))
    return found


def _write_folder(path: Path, frames: NDArray[np.uint8]) -> None:
    """All pictures into a folder beside, which then takes the place of `path`, or whose pictures go there."""
    names = [f"{number:04}.png" for number in range(len(frames))]
    try:
        if path.is_dir():
            others = sorted(each.name for each in path.iterdir() if each.suffix.lower() in PICTURES and each.name not in names)
            if others:
                raise InputError(f"{path} holds other pictures, {others[0]} among them: give another folder, or empty it")
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.absolute().parent))
        try:
            pictures = temporary / "pictures"
            pictures.mkdir()
            for name, frame in zip(names, frames):
                write_image(pictures / name, frame)
            if path.is_dir():
                for name in names:
                    os.replace(pictures / name, path / name)
            else:
                os.rename(pictures, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
