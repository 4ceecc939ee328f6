"""Images to an image model's input: centre crop, antialiased resize, rescale, normalise. numpy alone.

The steps and their rounding are those of transformers' image processors on Pillow (its torchvision ones round otherwise, by up
to a level); the resize is in image_resize.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import KINDS, PROCESSOR, check_fields, record
from perceiver_runtime.files.images import Picture, read_image
from perceiver_runtime.files.sources import array_of
from perceiver_runtime.processing.resize import BICUBIC, FILTERS, NEAREST, resize

Floats = NDArray[np.float32]
MIN_SIDE, MAX_SIDE = 16, 4096  # of an input that is asked for; and whatever a manifest says, to bound memory
MAX_LEVEL = 1e6  # of constants, so that what they are applied to stays finite
MAX_RESIZED = 1 << 14  # the longer side, where the shorter one is asked for
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's convert("L")


@dataclass(frozen=True)
class ImageProcessor:
    """The constants of an image bundle's manifest, under `processor`.

    Two orders of steps. Without `resize`, PerceiverImageProcessor's: the middle of the image, size / crop of its shorter side,
    is resized to `size`. With it, every other class's: the image is resized to `resize`, then cropped to `size`, with zeros
    around it where it is smaller. Then follow `pixels * scale` and `(pixels - mean) / std`.
    """

    size: tuple[int, int]  # height, width of the model's input
    crop: tuple[int, int]  # the centre crop is size / crop of the shorter side; (0, 0): no crop
    mean: tuple[float, ...]  # per channel, of scaled values
    std: tuple[float, ...]
    resize: tuple[int, ...] | None = None  # height and width, the shorter side alone, or () for no resize
    resample: int = BICUBIC  # Pillow's number of the filter
    scale: float = 1 / 255  # of values 0 to 255

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ImageProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense.

        `share` is `crop` under another name, in bundles with `resize`, `resample` and `scale`: versions that do not know these
        keys need `crop`, so they refuse the bundle.
        """
        named = {"crop" if key == "share" else key: value for key, value in data.items()}
        found = record(cls, named, PROCESSOR, ignored=KINDS)
        resized = found.resize or ()
        check_fields(
            PROCESSOR,
            size=all(1 <= side <= MAX_SIDE for side in found.size),
            crop=min(found.crop) >= 0,
            mean=len(found.mean) in (1, 3) and all(abs(value) <= MAX_LEVEL for value in found.mean),
            std=len(found.std) == len(found.mean) and all(1 / MAX_LEVEL <= abs(value) <= MAX_LEVEL for value in found.std),
            resize=len(resized) <= 2 and all(1 <= side <= MAX_SIDE for side in resized),
            resample=found.resample in (NEAREST, *FILTERS),
            scale=abs(found.scale) <= MAX_LEVEL,
        )
        return found

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: as the first versions wrote it where that says everything."""
        plain = {"size": list(self.size), "crop": list(self.crop), "mean": list(self.mean), "std": list(self.std)}
        if (self.resize, self.resample, self.scale) == (None, BICUBIC, 1 / 255):
            return plain
        new = {"resize": None if self.resize is None else list(self.resize), "resample": self.resample, "scale": self.scale}
        return {"share" if key == "crop" else key: value for key, value in plain.items()} | new

    def resized(self, size: tuple[int, int]) -> ImageProcessor:
        """The same for another input size (height, width): the same share of the image is cut out. Raises `InputError`."""
        if not (
            isinstance(size, (tuple, list))
            and len(size) == 2
            and all(type(side) is int and MIN_SIDE <= side <= MAX_SIDE for side in size)
        ):
            raise InputError(f"the size is {size}: give height and width in whole pixels, {MIN_SIDE} to {MAX_SIDE} each")
        ratios = [side / own for side, own in zip(size, self.size)]
        height, width = (round(crop * ratio) for crop, ratio in zip(self.crop, ratios))
        before = self.resize
        if before is not None and len(before) == 1:
            ratios = [max(ratios)]
        grown = None if before is None else tuple(max(1, round(side * ratio)) for side, ratio in zip(before, ratios))
        if grown and max(grown) > MAX_SIDE:
            raise InputError(f"the size is {size}, before which images have {max(grown)} pixels, over {MAX_SIDE}: give less")
        return replace(self, size=size, crop=(height, width), resize=grown)

    def __call__(self, image: Picture, name: str = "the image") -> Floats:
        """What `read_image` takes, (H, W) or (H, W, 1, 3 or 4), uint8 or float in [0, 1] → float32 (channels, height, width).

        Transparency is dropped; grey becomes three equal channels, and colour becomes grey, as the model needs. Raises
        `InputError`.
        """
        pixels = with_channels(checked_image(image, name), len(self.mean))
        if self.resize is None:
            if all(self.crop):
                pixels = center_crop(pixels, (self.size[0] / self.crop[0], self.size[1] / self.crop[1]), name)
            pixels = resize(pixels, self.size, self.resample)
        else:
            if self.resize:
                pixels = resize(pixels, self._target(pixels.shape[:2], name), self.resample)
            pixels = crop_or_pad(pixels, self.size)
        scale = self.scale if pixels.dtype == np.uint8 else self.scale * 255
        scaled = (pixels.astype(np.float64) * scale).astype(np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raise `InputError` for pixel_values (B, channels, H, W) far outside of what pixels become: 0 to 255, say."""
        mean, std = np.array(self.mean)[:, None, None], np.array(self.std)[:, None, None]
        ends = (np.array([[[0.0]], [[255.0]]]) * self.scale)[:, None] - mean
        low, high = (ends / std).min(axis=0), (ends / std).max(axis=0)
        room = (high - low) / 4  # float pictures may swing over when they are resized
        pixels = inputs["pixel_values"]
        if ((pixels < low - room) | (pixels > high + room)).any():
            raise InputError(
                f"pixel_values are {pixels.min():.3g} to {pixels.max():.3g}, those of pictures {low.min():.3g} to "
                f"{high.max():.3g}: give value * scale, less the mean, divided by std, of the manifest's processor"
            )

    def _target(self, sides: tuple[int, ...], name: str) -> tuple[int, int]:
        """The height and width that an image of these `sides` is resized to."""
        if self.resize is not None and len(self.resize) == 2:
            return self.resize[0], self.resize[1]
        short = (self.resize or self.size)[0]
        height, width = (short if side == min(sides) else int(short * side / min(sides)) for side in sides)
        if max(height, width) > MAX_RESIZED:
            raise InputError(f"{name} of {sides[1]}x{sides[0]} pixels is too long for its other side: crop it first")
        return height, width


def checked_image(picture: Picture, name: str) -> NDArray[Any]:
    """What `read_image` takes as (H, W, 1 or 3), uint8 or float32 in [0, 1], without transparency. Raises `InputError`."""
    image = read_image(picture, name)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        first = image.ndim == 3 and image.shape[0] in (1, 3, 4)
        way_out = "transpose it, channels come last" if first else "drop the rest"
        raise InputError(f"{name} has shape {image.shape}, expected (H, W, 3), (H, W, 4), or (H, W) for grey: {way_out}")
    image = image[..., :3]
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"{name} is {image.dtype}, expected uint8, or float in [0, 1]: convert it")
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise InputError(f"{name} is {image.dtype} with values outside [0, 1] or not finite: divide by 255, or give uint8")
    return image.astype(np.float32)


def from_bgr(images: Any) -> NDArray[Any]:
    """Blue, green, red to red, green, blue, and back: OpenCV's pictures to those that pipelines take.

    images (..., 3), or (..., 4) with transparency last: a picture (H, W, 3), or several (N, H, W, 3). Returns a copy of the
    same type. Raises `InputError`.

    >>> field = flow(pr.from_bgr(frame1), pr.from_bgr(frame2))
    """
    array = array_of(images, "the picture")
    if array is None or array.ndim < 3 or array.shape[-1] not in (3, 4):
        found = type(images).__name__ if array is None else f"array of shape {array.shape}"
        raise InputError(f"the picture is a {found}: give an array (H, W, 3) or (N, H, W, 3), one of a list after the other")
    return np.ascontiguousarray(array[..., [2, 1, 0, 3][: array.shape[-1]]])


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
    if max(rows, columns) > MAX_RESIZED and (rows > height or columns > width):
        raise InputError(f"{name} of {width}x{height} pixels is too large to put zeros around it: make it smaller first")
    return crop_or_pad(image, (rows, columns))


def crop_or_pad(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The middle of an image (H, W, C), of `size` (height, width), with zeros around it where it is smaller."""
    for axis, wanted in enumerate(size):
        own = image.shape[axis]
        room = wanted - own
        if room > 0:
            before = -(room // -2)
            image = np.pad(image, [(before, room - before) if place == axis else (0, 0) for place in range(3)])
        else:
            start = (own - wanted) // 2
            image = image[start : start + wanted] if axis == 0 else image[:, start : start + wanted]
    return image
