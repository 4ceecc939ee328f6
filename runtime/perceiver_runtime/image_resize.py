"""Resizing images as Pillow does: separable kernels stretched by the reduction, so that no source pixel is skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
NEAREST, BICUBIC = 0, 3  # Pillow's numbers
_FIXED_POINT = float(1 << 22)  # Pillow's weights for bytes are whole multiples of 1 / this
_GROUP = 16  # target pixels computed at once


def resize(image: NDArray[Any], size: tuple[int, int], resample: int = BICUBIC) -> NDArray[Any]:
    """An image (H, W, C) to `size` (height, width) with Pillow's filter. uint8 stays uint8, rounded after each axis."""
    if resample == NEAREST:
        rows, columns = (_nearest(own, wanted) for own, wanted in zip(image.shape, size))
        return image[rows][:, columns]
    across = _along_width(image.transpose(2, 0, 1), size[1], resample)  # (C, H, width)
    down = _along_width(across.transpose(0, 2, 1), size[0], resample)  # (C, width, height)
    resized: NDArray[Any] = down.transpose(2, 1, 0)
    return resized


def _nearest(source: int, target: int) -> NDArray[np.int64]:
    """The source pixel of each target pixel. Pillow adds up the steps, with their rounding."""
    steps = np.full(target, source / target)
    steps[0] *= 0.5
    return np.minimum(np.add.accumulate(steps).astype(np.int64), source - 1)


def _along_width(planes: NDArray[Any], size: int, resample: int) -> NDArray[Any]:
    """planes (C, A, B) → (C, A, size)."""
    if planes.shape[2] == size:
        return planes
    weights = _weights(planes.shape[2], size, resample)
    if planes.dtype == np.uint8:
        weights = np.rint(weights * _FIXED_POINT)
    flat = planes.reshape(-1, planes.shape[2])
    resized = np.empty((len(flat), size))
    for first in range(0, size, _GROUP):  # a target pixel needs its neighbourhood only
        group = weights[first : first + _GROUP]
        needed = np.flatnonzero(group.any(axis=0))
        window = np.s_[needed[0] : needed[-1] + 1]
        resized[:, first : first + _GROUP] = flat[:, window].astype(np.float64) @ group[:, window].T
    shaped = resized.reshape(*planes.shape[:2], size)
    if planes.dtype == np.uint8:
        return np.clip(np.floor(shaped / _FIXED_POINT + 0.5), 0, 255).astype(np.uint8)
    return shaped.astype(np.float32)


def _weights(source: int, target: int, resample: int) -> Doubles:
    """How much each source pixel counts for each target pixel: (target, source)."""
    scale = source / target
    stretch = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    kernel = FILTERS[resample](((np.arange(source) + 0.5)[None] - centers[:, None]) / stretch)
    normalised: Doubles = kernel / kernel.sum(axis=1, keepdims=True)
    return normalised


def _lanczos(place: Doubles) -> Doubles:
    return np.where(np.abs(place) < 3, np.sinc(place) * np.sinc(place / 3), 0.0)


def _bilinear(place: Doubles) -> Doubles:
    return np.maximum(1 - np.abs(place), 0.0)


def _bicubic(place: Doubles) -> Doubles:
    distance = np.abs(place)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def _box(place: Doubles) -> Doubles:
    return np.where((place > -0.5) & (place <= 0.5), 1.0, 0.0)


def _hamming(place: Doubles) -> Doubles:
    return np.where(np.abs(place) < 1, np.sinc(place) * (0.54 + 0.46 * np.cos(np.pi * place)), 0.0)


FILTERS: Mapping[int, Callable[[Doubles], Doubles]] = {1: _lanczos, 2: _bilinear, BICUBIC: _bicubic, 4: _box, 5: _hamming}
