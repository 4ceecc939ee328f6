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
_HAMMING = (float(np.float32(0.54)), float(np.float32(0.46)))  # in single precision, as in Pillow


def resize(image: NDArray[Any], size: tuple[int, int], resample: int = BICUBIC) -> NDArray[Any]:
    """An image (H, W, C) to `size` (height, width) with Pillow's filter. uint8 stays uint8, rounded after each axis.

    Pillow 13 resizes the height first where it shrinks by more than twice as many pixels as the width; earlier ones never.
    As bytes are rounded between, the order shows: this is Pillow 13's.
    """
    if resample == NEAREST:
        rows, columns = (_nearest(own, wanted) for own, wanted in zip(image.shape, size))
        return image[rows][:, columns]
    planes: NDArray[Any] = image.transpose(2, 0, 1)  # (C, H, W)
    less_height, less_width = image.shape[0] - size[0], image.shape[1] - size[1]
    height_first = less_height > 0 and less_height > 2 * less_width
    for along_height in (True, False) if height_first else (False, True):
        if along_height:
            planes = _along_width(planes.transpose(0, 2, 1), size[0], resample).transpose(0, 2, 1)
        else:
            planes = _along_width(planes, size[1], resample)
    return planes.transpose(1, 2, 0)


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
    pixels = np.arange(source)[None]
    reach = SUPPORT[resample] * stretch
    inside = (pixels >= np.trunc(centers - reach + 0.5)[:, None]) & (pixels < np.trunc(centers + reach + 0.5)[:, None])
    kernel = FILTERS[resample]((pixels - centers[:, None] + 0.5) * (1.0 / stretch)) * inside  # computed in Pillow's order
    normalised: Doubles = kernel / kernel.sum(axis=1, keepdims=True)
    return normalised


def _lanczos(place: Doubles) -> Doubles:
    return np.where(np.abs(place) < 3, np.sinc(place) * np.sinc(place / 3), 0.0)


def _bilinear(place: Doubles) -> Doubles:
    kernel: Doubles = np.maximum(1 - np.abs(place), 0.0)
    return kernel


def _bicubic(place: Doubles) -> Doubles:
    distance = np.abs(place)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def _box(place: Doubles) -> Doubles:
    return np.where((place > -0.5) & (place <= 0.5), 1.0, 0.0)


def _hamming(place: Doubles) -> Doubles:
    window: Doubles = _HAMMING[0] + _HAMMING[1] * np.cos(np.pi * place)
    return np.where(np.abs(place) < 1, np.sinc(place) * window, 0.0)


FILTERS: Mapping[int, Callable[[Doubles], Doubles]] = {1: _lanczos, 2: _bilinear, BICUBIC: _bicubic, 4: _box, 5: _hamming}
SUPPORT: Mapping[int, float] = {1: 3.0, 2: 1.0, BICUBIC: 2.0, 4: 0.5, 5: 1.0}
