"""Images in files: `.npy` with numpy, the common formats with Pillow where it is installed.

A picture of a format is read as viewers show it: turned upright by its EXIF orientation; grey, palette, CMYK and others
become RGB; transparency is dropped, so that the colour under it shows, as transformers does. Pictures of more than 8 bits a
channel with one channel (16-bit grey PNG, PGM and TIFF, float TIFF) are scaled by their own range, see `value_range`; two
frames, or the frames of a clip, by the range of all of them, so that equal values stay equal. Of a file with several pages
the first is read.
"""

from __future__ import annotations

import importlib
import io
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import BackendError, InputError
from perceiver_runtime.files.arrays import read_array
from perceiver_runtime.files.outputs import replacing

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 1 << 27  # 134 megapixels: refused before decoding
MAX_TOTAL_PIXELS = 1 << 29  # of all pictures of a clip
_ORIENTATION = 0x0112  # EXIF's tag; below, what turns a picture with that value upright
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_one_at_a_time = threading.Lock()  # warnings.catch_warnings changes the whole process


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """An image as uint8 (H, W, 3); a `.npy` file is taken as it is. How a format's values are read, the module says.

    Raises `InputError` for what is no image, `BackendError` where Pillow is needed and missing.
    """
    return read_images([path])[0]


def read_images(paths: Sequence[str | Path]) -> list[NDArray[Any]]:
    """Several images, each as `read_image`; those of more than 8 bits are scaled by one range for all. Raises as it does."""
    _check_total([Path(path) for path in paths])
    images = [_read(Path(path)) for path in paths]
    deep = [image for image, of_format in images if of_format and image.dtype != np.uint8]
    if not deep:
        return [image for image, _ in images]
    low, high = value_range(deep)
    return [_scaled(image, low, high) if of_format and image.dtype != np.uint8 else image for image, of_format in images]


def read_scaled(path: str | Path, low: float | None, high: float | None) -> NDArray[Any]:
    """An image whose values of more than 8 bits are scaled from `low` to `high`, or with None left as they are (H, W)."""
    image, of_format = _read(Path(path))
    deep = of_format and image.dtype != np.uint8 and low is not None and high is not None
    return _scaled(image, low, high) if deep else image  # type: ignore[arg-type]


def value_range(images: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """What becomes black and what white in one-channel pictures of more than 8 bits, over all of them.

    Whole numbers: 0, and the largest of the fewest bits, 8 to 32, that hold every value (4095 for a 12-bit camera's values in
    a 16-bit file, 65535 where all bits are used). Floats in [0, 1]: 0 and 1. Others, and whole numbers below 0: the least
    and the greatest value.
    """
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    if any(np.issubdtype(image.dtype, np.floating) for image in images):
        return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    return (0.0, float((1 << max(8, int(high).bit_length())) - 1)) if low >= 0 else (low, high)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3) in the format of the file's ending. Raises `InputError`, `BackendError`."""
    path = Path(path)
    pillow = require_pillow(path)
    try:
        with replacing(path) as whole:
            pillow.fromarray(image).save(whole)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def check_picture_ending(path: str | Path) -> None:
    """Raise `InputError` where no format that Pillow writes has this ending, before any work is done for the picture."""
    pillow, ending = require_pillow(Path(path)), Path(path).suffix.lower()
    pillow.init()
    if pillow.EXTENSION.get(ending) not in pillow.SAVE:
        raise InputError(f"{path} cannot be written: no picture's name ends in {ending or 'nothing'!r}; use .png")


def require_pillow(path: Path) -> Any:
    """Pillow's Image module, or a `BackendError` that names the way out."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise BackendError(
            f"{path.name} needs Pillow: pip install 'perceiver-runtime[images]', or use .npy frames and --flo"
        ) from error


@contextmanager
def opened(path: Path, formats: Sequence[str], what: str) -> Iterator[Any]:
    """Pillow's image of a file, its size checked, nothing decoded yet; whatever Pillow raises becomes an `InputError`."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    pillow = require_pillow(path)
    try:
        with _BoundedReader(io.FileIO(path)) as file:
            with _one_at_a_time, warnings.catch_warnings():
                warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # the size is checked here
                unread = pillow.open(file, formats=formats)
            with unread as image:
                _check_pixels(path, image)
                yield image
    except (InputError, MemoryError):
        raise
    except pillow.DecompressionBombError as error:
        raise InputError(f"{path} has more pixels than the {MAX_PIXELS} allowed ({error}): make it smaller") from error
    except Exception as error:  # Pillow's decoders raise many kinds for a broken file
        raise InputError(f"{path} is not {what} that can be read ({error}): expected one of {', '.join(formats)}") from error


class _BoundedReader(io.BufferedReader):
    """Reads at most what the file holds: Python sets memory aside for all that a decoder asks, as a damaged length says."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def _check_pixels(path: Path, image: Any) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{path} has {image.width}x{image.height} pixels, more than the {MAX_PIXELS} allowed: make it smaller")


def _check_total(paths: Sequence[Path]) -> None:
    """The pixels of all pictures together, from their headers, before the first is decoded."""
    if len(paths) < 2:
        return
    total = 0
    for path in paths:
        if path.suffix.lower() != ".npy":
            with opened(path, FORMATS, "an image") as image:
                total += image.width * image.height
        if total > MAX_TOTAL_PIXELS:
            raise InputError(
                f"{path.parent} holds {len(paths)} pictures of more than {MAX_TOTAL_PIXELS} pixels together: "
                "make them smaller, or take fewer"
            )


def _read(path: Path) -> tuple[NDArray[Any], bool]:
    """The picture, and whether a format says what its values mean: uint8 (H, W, 3), or deeper (H, W)."""
    if path.suffix.lower() == ".npy":
        if not path.is_file():
            raise InputError(f"there is no file {path}")
        return read_array(path), False
    with opened(path, FORMATS, "an image") as image:
        image.load()  # a TIFF is turned by this
        _check_pixels(path, image)
        upright = _upright(image)
        if not (upright.mode.startswith("I") or upright.mode == "F"):
            upright.info.pop("transparency", None)  # Pillow would warn that it is lost
            return np.asarray(upright.convert("RGB")), True
        values = np.asarray(upright)
        if not np.isfinite(values).all():
            raise InputError(f"{path} holds NaN or infinity: replace those pixels")
        return values, True


def _upright(image: Any) -> Any:
    """Turned as its EXIF data say. Data that cannot be read say nothing, as in viewers."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # struct.error, SyntaxError and others, of a picture that is good otherwise
        orientation = 1
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(getattr(importlib.import_module("PIL.Image").Transpose, method))


def _scaled(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """(H, W) → uint8 (H, W, 3), `low` black and `high` white."""
    share = (image.astype(np.float64) - low) / max(high - low, 1e-300)
    return np.repeat(np.rint(255 * share).astype(np.uint8)[..., None], 3, axis=2)
