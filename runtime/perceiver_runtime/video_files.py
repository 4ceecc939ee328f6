"""Clips in files: a folder of pictures, an animated GIF, or `.npy`; Pillow reads and writes the pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import InputError
from perceiver_runtime.image_files import MAX_PIXELS, read_image, require_pillow, write_image

MAX_FRAMES = 4096
PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".tif", ".tiff", ".webp", ".npy")


def read_video(path: str | Path) -> NDArray[Any]:
    """A clip as uint8 (T, H, W, 3): a folder's pictures in the order of the numbers in their names, or a GIF's frames.

    A `.npy` file is taken as it is. Raises `InputError`, `BackendError`.
    """
    path = Path(path)
    if path.is_dir():
        names = sorted((name for name in path.iterdir() if name.suffix.lower() in PICTURES), key=_natural)
        if not names:
            raise InputError(f"{path} holds no pictures: expected {', '.join(PICTURES)}")
        if len(names) > MAX_FRAMES:
            raise InputError(f"{path} holds {len(names)} pictures, more than the {MAX_FRAMES} allowed: move the clip's away")
        frames = [read_image(name) for name in names]
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            raise InputError(f"the pictures in {path} differ in size: {', '.join(map(str, sorted(sizes)[:3]))}")
        return np.stack(frames)
    if path.suffix.lower() != ".gif":
        return read_image(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return _read_gif(path)


def write_video(path: str | Path, frames: NDArray[np.uint8], *, frames_per_second: float = 25.0) -> None:
    """uint8 (T, H, W, 3) as an animated GIF, or where `path` does not end in .gif as a folder of PNG pictures."""
    path = Path(path)
    if path.suffix.lower() != ".gif":
        path.mkdir(exist_ok=True)
        for number, frame in enumerate(frames):
            write_image(path / f"{number:04}.png", frame)
        return
    pillow = require_pillow(path)
    pictures = [pillow.fromarray(frame) for frame in frames]
    try:
        milliseconds = max(20, round(1000 / frames_per_second))  # viewers slow down what is faster
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def _read_gif(path: Path) -> NDArray[np.uint8]:
    pillow = require_pillow(path)
    try:
        with pillow.open(path, formats=("GIF",)) as image:
            count = image.n_frames
            if count > MAX_FRAMES or count * image.width * image.height > 4 * MAX_PIXELS:
                raise InputError(f"{path} has {count} frames of {image.width}x{image.height}, more than is allowed: cut it")
            frames = []
            for number in range(count):
                image.seek(number)
                frames.append(np.asarray(image.convert("RGB")))
            if len({frame.shape for frame in frames}) > 1:
                raise InputError(f"{path} has frames of different sizes: save it again")
    except InputError:
        raise
    except Exception as error:  # Pillow's decoder raises many kinds for a broken file
        raise InputError(f"{path} is not a GIF that can be read ({error})") from error
    return np.stack(frames)


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
