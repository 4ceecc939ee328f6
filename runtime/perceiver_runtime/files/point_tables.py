"""Tables of points in CSV files: which to follow, and where they were in each frame."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.outputs import replacing

MAX_BYTES = 64 << 20
COLUMNS = ("frame", "seconds", "point", "x", "y", "valid")


def read_points(path: str | Path) -> NDArray[np.float64]:
    """Points (K, 2) as (x, y) of a CSV: the columns that its first line calls x and y, or two columns without such a line.

    Raises `InputError`, which names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} has more than the {MAX_BYTES} bytes allowed: give fewer points")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error
    names = [cell.strip().lower() for cell in lines[0][1]] if lines else []
    place = (names.index("x"), names.index("y")) if {"x", "y"} <= set(names) else (0, 1)
    if {"x", "y"} <= set(names):
        lines = lines[1:]
    if not lines:
        raise InputError(f"{path} holds no points: give a line with x,y for each")
    return np.array([_point(path, number, row, place) for number, row in lines])


def _point(path: Path, number: int, row: list[str], place: tuple[int, int]) -> tuple[float, float]:
    try:
        x, y = (float(row[column]) for column in place)
    except (ValueError, IndexError) as error:
        raise InputError(f"line {number} of {path} is {','.join(row)[:60]!r}: give two numbers, x,y") from error
    return x, y


@contextlib.contextmanager
def track_writer(path: str | Path) -> Iterator[TrackWriter]:
    """Writes a CSV with a line for each point of each frame; x and y are empty where a point is not valid."""
    with replacing(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        yield TrackWriter(writer)


class TrackWriter:
    """See `track_writer`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, frame: int, seconds: float, positions: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """The points of a frame: positions (K, 2), valid (K,)."""
        for point, ((x, y), good) in enumerate(zip(positions, valid)):
            place = (f"{x:.3f}", f"{y:.3f}") if good else ("", "")
            self._writer.writerow((frame, f"{seconds:.6f}", point, *place, int(good)))
