"""Images to an image model's input: centre crop, antialiased bicubic resize, normalise. numpy alone.

The steps and their rounding are those of transformers' PerceiverImageProcessor; the resize is Pillow's: separable, with the
cubic kernel (a = -0.5) stretched by the reduction, so that no source pixel is skipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import InputError, IntegrityError

Floats = NDArray[np.float32]
MIN_SIDE, MAX_SIDE = 16, 4096  # of an input that is asked for; and whatever a manifest says, to bound memory
_FIXED_POINT = float(1 << 22)  # Pillow's weights for bytes are whole multiples of 1 / this
_GROUP = 16  # target pixels computed at once
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's convert("L")


@dataclass(frozen=True)
class ImageProcessor:
    """The constants of an image bundle's manifest, under `processor`."""

    size: tuple[int, int]  # height, width of the model's input
    crop: tuple[int, int]  # the centre crop is size / crop of the shorter side; (0, 0): no crop
    mean: tuple[float, ...]  # per channel, of values in [0, 1]
    std: tuple[float, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ImageProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        try:
            height, width = (int(side) for side in data["size"])
            rows, columns = (int(side) for side in data["crop"])
            mean, std = (tuple(float(value) for value in data[key]) for key in ("mean", "std"))
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"the manifest's processor constants are not those of an image bundle ({error!r})") from error
        valid = min(height, width) >= 1 and max(height, width) <= MAX_SIDE and min(rows, columns) >= 0
        finite = all(map(math.isfinite, (*mean, *std))) and all(std)
        if not valid or not finite or len(mean) != len(std) or len(mean) not in (1, 3):
            raise IntegrityError(f"the manifest's processor constants make no sense: {data}")
        return cls((height, width), (rows, columns), mean, std)

    def resized(self, size: tuple[int, int]) -> ImageProcessor:
        """The same for another input size (height, width): the same share of the image is cut out. Raises `InputError`."""
        if not (len(size) == 2 and all(type(side) is int and MIN_SIDE <= side <= MAX_SIDE for side in size)):
            raise InputError(f"the size is {size}: give height and width in whole pixels, {MIN_SIDE} to {MAX_SIDE} each")
        height, width = (round(crop * side / own) for crop, side, own in zip(self.crop, size, self.size))
        return replace(self, size=size, crop=(height, width))

    def __call__(self, image: NDArray[Any], name: str = "the image") -> Floats:
        """An image (H, W), (H, W, 1 to 4), uint8 or float in [0, 1] → float32 (channels, height, width), normalised.

        Transparency is dropped; grey becomes three equal channels, and colour becomes grey, as the model needs. Raises
        `InputError`.
        """
        pixels = with_channels(checked_image(image, name), len(self.mean))
        if all(self.crop):
            pixels = center_crop(pixels, (self.size[0] / self.crop[0], self.size[1] / self.crop[1]), name)
        resized = resize(pixels, self.size)
        scaled = resized.astype(np.float32) / np.float32(255) if resized.dtype == np.uint8 else resized
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


def checked_image(image: NDArray[Any], name: str) -> NDArray[Any]:
    """The image as (H, W, 1 or 3), uint8 or float32 in [0, 1], without transparency. Raises `InputError`."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"{name} is a {type(image).__name__}, expected a numpy array (H, W, 3): read the file first")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise InputError(f"{name} has shape {image.shape}, expected (H, W, 3), (H, W, 4), or (H, W) for grey: drop the rest")
    image = image[..., :3]
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"{name} is {image.dtype}, expected uint8, or float in [0, 1]: convert it")
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise InputError(f"{name} is {image.dtype} with values outside [0, 1] or not finite: divide by 255, or give uint8")
    return image.astype(np.float32)


def with_channels(image: NDArray[Any], channels: int) -> NDArray[Any]:
    """An image (H, W, 1 or 3) → (H, W, channels)."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    grey: Floats = image.astype(np.float32) @ _GREY
    return np.expand_dims(np.rint(grey).astype(np.uint8) if image.dtype == np.uint8 else grey, axis=-1)


def center_crop(image: NDArray[Any], share: tuple[float, float], name: str) -> NDArray[Any]:
    """The middle of an image (H, W, C): `share` (height, width) of its shorter side. Raises `InputError` if nothing is left."""
    height, width = image.shape[:2]
    rows, columns = (int(part * min(height, width)) for part in share)
    if rows < 1 or columns < 1:
        raise InputError(f"{name} of {width}x{height} pixels is too small to crop: give at least 2x2")
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]


def resize(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """An image (H, W, C) to `size` (height, width), antialiased bicubic. uint8 stays uint8, rounded after each axis."""
    across = _along_width(image.transpose(2, 0, 1), size[1])  # (C, H, width)
    down = _along_width(across.transpose(0, 2, 1), size[0])  # (C, width, height)
    resized: NDArray[Any] = down.transpose(2, 1, 0)
    return resized


def _along_width(planes: NDArray[Any], size: int) -> NDArray[Any]:
    """planes (C, A, B) → (C, A, size)."""
    if planes.shape[2] == size:
        return planes
    weights = _weights(planes.shape[2], size)
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


def _weights(source: int, target: int) -> NDArray[np.float64]:
    """How much each source pixel counts for each target pixel: (target, source)."""
    scale = source / target
    stretch = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    distance = np.abs((np.arange(source) + 0.5)[None] - centers[:, None]) / stretch
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    kernel = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    normalised: NDArray[np.float64] = kernel / kernel.sum(axis=1, keepdims=True)
    return normalised
