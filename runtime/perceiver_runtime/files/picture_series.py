"""Clips that are pictures in files of their own: a folder, or names with a number in them (`frame_%04d.png`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.images import read_unscaled
from perceiver_runtime.files.pictures.depth import scaled, value_range

PICTURES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".npy")
_NUMBER = re.compile(r"%(0[1-9])?d")


def is_pattern(path: Path) -> bool:
    """Whether the name has one number to fill in, as `frame_%04d.png`, and is not itself a file."""
    return len(_NUMBER.findall(path.name)) == 1 and not path.exists()


def pictures_of(path: Path) -> list[Path]:
    """The pictures of a folder or a pattern, in the order of their numbers. Raises `InputError`.

    Hidden files, such as macOS's `._0.png`, are no pictures. Numbers of a pattern may begin anywhere; one that is missing in
    between is an error.
    """
    return _of_pattern(path) if is_pattern(path) else _of_folder(path)


def read_series(names: Sequence[Path], start: int = 0) -> Iterator[NDArray[Any]]:
    """The pictures from number `start` on, one by one, of one size. Raises `InputError`.

    Those of more than 8 bits are scaled by the range of all, also of those before, for which each is read once first.
    """
    first, deep = read_unscaled(names[0])
    limits = _limits(names) if deep else None
    for name in names[start:]:
        picture, deep = read_unscaled(name)
        if deep:
            picture = scaled(picture, *(limits or value_range([picture])))
        if picture.shape[:2] != first.shape[:2]:
            raise InputError(
                f"the pictures in {name.parent} differ in size: {name.name} is {_size(picture)}, {names[0].name} {_size(first)}"
            )
        yield picture


def _limits(names: Sequence[Path]) -> tuple[float, float]:
    pictures = (picture for picture, deep in map(read_unscaled, names) if deep)
    return value_range([np.stack([picture.min(), picture.max()]) for picture in pictures])


def _size(picture: NDArray[Any]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _of_pattern(path: Path) -> list[Path]:
    before, after = _NUMBER.split(path.name)[0], _NUMBER.split(path.name)[-1]
    digits = _NUMBER.findall(path.name)[0]
    least = int(digits[1:]) if digits else 1
    name = re.compile(re.escape(before) + rf"([0-9]{{{least},18}})" + re.escape(after))
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}")
    found = {int(match[1]): each for each in path.parent.iterdir() if (match := name.fullmatch(each.name))}
    if not found:
        raise InputError(f"no picture has a name such as {path.name} in {path.parent}")
    missing = next((number for number in range(min(found), max(found)) if number not in found), None)
    if missing is not None:
        raise InputError(
            f"{path} lacks number {missing} between {min(found)} and {max(found)}: give the picture, or rename them"
        )
    return [found[number] for number in sorted(found)]


def _of_folder(folder: Path) -> list[Path]:
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
