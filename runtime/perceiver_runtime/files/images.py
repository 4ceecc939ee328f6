"""Pictures as people have them: `.npy` with numpy, the common formats with Pillow where it is installed, Pillow's own, arrays.

A picture of a format is read as viewers show it: turned upright by its EXIF orientation; grey, palette, CMYK and others
become RGB; transparency is dropped, so that the colour under it shows, as transformers does. Pictures of more than 8 bits a
channel with one channel (16-bit grey PNG, PGM and TIFF, float TIFF) are scaled by their own range, see pictures/depth.py; two
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
from perceiver_runtime.files.arrays import MAGIC, array_of_bytes, read_array
from perceiver_runtime.files.outputs import replacing
from perceiver_runtime.files.pictures.depth import scaled, value_range
from perceiver_runtime.files.sources import Source, array_of, check_file, file_source, is_pillow_image

Picture = Any  # what `read_image` takes
PICTURE = "a path, the bytes of a file, a file object, a PIL image, or an array (H, W, 3) in RGB (OpenCV's: pr.from_bgr)"

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


def read_image(picture: Picture, name: str = "the image") -> NDArray[Any]:
    """A picture as uint8 (H, W, 3), RGB. How a format's values are read, the module says.

    Taken are a path (`str` or `os.PathLike`), the bytes of a file, an object that reads them, a PIL image, and an array, also
    as a tensor that numpy converts. An array and a `.npy` file come back as they are: what values and shapes they may have, the
    pipeline says that takes them. `name` is what errors call a picture that has no path.

    Raises `InputError` for what is no image, `BackendError` where Pillow is needed and missing.
    """
    return read_images([picture], [name])[0]


def read_images(pictures: Sequence[Picture], names: Sequence[str] = ()) -> list[NDArray[Any]]:
    """Several images, each as `read_image`; those of more than 8 bits are scaled by one range for all. Raises as it does."""
    names = names or [f"image {number}" for number in range(len(pictures))]
    given = [_given(picture, name) for picture, name in zip(pictures, names)]
    _check_total([each for each in given if isinstance(each, Source)])
    images = [_unscaled(each) for each in given]
    deep = [image for image, is_deep in images if is_deep]
    if not deep:
        return [image for image, _ in images]
    low, high = value_range(deep)
    return [scaled(image, low, high) if is_deep else image for image, is_deep in images]


def read_unscaled(picture: Picture, name: str = "the image") -> tuple[NDArray[Any], bool]:
    """As `read_image`, but a picture of more than 8 bits is (H, W) with its format's values, and whether it is such."""
    return _unscaled(_given(picture, name))


def _unscaled(given: Source | tuple[NDArray[Any], bool]) -> tuple[NDArray[Any], bool]:
    image, of_format = _read(given) if isinstance(given, Source) else given
    return image, of_format and image.dtype != np.uint8


def _given(picture: Picture, name: str) -> Source | tuple[NDArray[Any], bool]:
    """A file to read, or what `_read` makes of one. Raises `InputError`."""
    if isinstance(picture, np.ndarray):
        return picture, False
    if is_pillow_image(picture):
        return _decoded(picture, name), True
    source = file_source(picture, name)
    if source is not None:
        return source
    array = array_of(picture, name)
    if array is None:
        raise InputError(f"{name} is a {type(picture).__name__}: give {PICTURE}")
    return array, False


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
def opened(file: Path | bytes, formats: Sequence[str], what: str, name: str = "") -> Iterator[Any]:
    """Pillow's image of a file, its size checked, nothing decoded yet; whatever Pillow raises becomes an `InputError`."""
    path = name or str(file)
    check_file(file)
    pillow = require_pillow(Path(path))
    try:
        with io.BytesIO(file) if isinstance(file, bytes) else _BoundedReader(io.FileIO(file)) as stream:
            with _one_at_a_time, warnings.catch_warnings():
                warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # the size is checked here
                unread = pillow.open(stream, formats=formats)
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


def _check_pixels(path: object, image: Any) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{path} has {image.width}x{image.height} pixels, more than the {MAX_PIXELS} allowed: make it smaller")


def _check_total(sources: Sequence[Source]) -> None:
    """The pixels of all pictures together, from their headers, before the first is decoded."""
    if len(sources) < 2:
        return
    total = 0
    for source in sources:
        if not _is_npy(source.file):
            with opened(source.file, FORMATS, "an image", source.name) as image:
                total += image.width * image.height
        if total > MAX_TOTAL_PIXELS:
            where = source.file.parent if isinstance(source.file, Path) else "the input"
            raise InputError(
                f"{where} holds {len(sources)} pictures of more than {MAX_TOTAL_PIXELS} pixels together: "
                "make them smaller, or take fewer"
            )


def _is_npy(file: Path | bytes) -> bool:
    return file[: len(MAGIC)] == MAGIC if isinstance(file, bytes) else file.suffix.lower() == ".npy"


def _read(source: Source) -> tuple[NDArray[Any], bool]:
    """The picture, and whether a format says what its values mean: uint8 (H, W, 3), or deeper (H, W)."""
    file, name = source
    if _is_npy(file):
        check_file(file)
        return (array_of_bytes(file, name) if isinstance(file, bytes) else read_array(file)), False
    with opened(file, FORMATS, "an image", name) as image:
        return _decoded(image, name), True


def _decoded(image: Any, name: str) -> NDArray[Any]:
    """Pillow's image upright, uint8 (H, W, 3) or deeper (H, W). Raises `InputError`, also where its file is damaged."""
    _check_pixels(name, image)
    try:
        image.load()  # a TIFF is turned by this
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for a broken file
        raise InputError(f"{name} is not an image that can be read ({error}): save it again") from error
    _check_pixels(name, image)
    upright = _upright(image)
    if not (upright.mode.startswith("I") or upright.mode == "F"):
        if "transparency" in upright.info:  # Pillow would warn that it is lost
            upright = upright.copy()
            del upright.info["transparency"]
        return np.asarray(upright.convert("RGB"))
    values = np.asarray(upright)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinity: replace those pixels")
    return values


def _upright(image: Any) -> Any:
    """Turned as its EXIF data say. Data that cannot be read say nothing, as in viewers."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # struct.error, SyntaxError and others, of a picture that is good otherwise
        orientation = 1
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(getattr(importlib.import_module("PIL.Image").Transpose, method))
