"""Points of a frame: which pixels they are, or are between. numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

Doubles = NDArray[np.float64]
Places = NDArray[np.int64]


def flat_points(points: NDArray[Any]) -> Doubles:
    """Points (K, 2), or OpenCV's (K, 1, 2), as (x, y) → float64 (K, 2). Raises `InputError`."""
    points = np.asarray(points)
    fits = points.ndim in (2, 3) and points.shape[-1] == 2 and (points.ndim == 2 or points.shape[1] == 1)
    if not fits or not np.issubdtype(points.dtype, np.number) or np.issubdtype(points.dtype, np.complexfloating):
        raise InputError(
            f"points have shape {points.shape} and type {points.dtype}, expected numbers (K, 2) or (K, 1, 2) as (x, y)"
        )
    return points.reshape(-1, 2).astype(np.float64)


def inside_frame(points: Doubles, height: int, width: int) -> NDArray[np.bool_]:
    """Which of the points (K, 2) have their nearest pixel in the frame; NaN is outside."""
    rounded = np.rint(points)
    inside = (rounded >= 0) & (rounded < (width, height))
    return np.asarray(inside.all(axis=1), np.bool_)


def neighbours(points: Doubles, height: int, width: int) -> tuple[Places, Doubles]:
    """The four pixels around each point of a frame: (K, 4, 2) as (row, column), and how much each counts: (K, 4).

    Bilinear; a point in the outer half of a border pixel is taken as on it.
    """
    x, y = np.clip(points[:, 0], 0, width - 1), np.clip(points[:, 1], 0, height - 1)
    left = np.minimum(np.floor(x), max(0, width - 2)).astype(np.int64)
    top = np.minimum(np.floor(y), max(0, height - 2)).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    places = np.stack([np.stack([row, column], axis=-1) for row in (top, bottom) for column in (left, right)], axis=1)
    shares = np.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], axis=1)
    return places, shares
