"""Images in files: `.npy` with numpy, the common formats with Pillow where it is installed."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import BackendError, InputError

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
MAX_PIXELS = 1 << 27  # 134 megapixels: refused before decoding


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """An image as uint8 (H, W, 3). Greyscale, palette and transparent images become RGB; a `.npy` file is taken as it is.

    Raises `InputError` for what is no image, `BackendError` where Pillow is needed and missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix == ".npy":
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # numpy parses the header as Python, whose errors come through
            raise InputError(f"{path} cannot be read as a numpy array: {error}") from error
        return np.array(array)
    pillow = require_pillow(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(f"{path} has {image.width}x{image.height} pixels, more than the {MAX_PIXELS} allowed")
                return np.asarray(image.convert("RGB"))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for a broken file
        raise InputError(f"{path} is not an image that can be read ({error}): expected one of {', '.join(FORMATS)}") from error


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3) in the format of the file's ending. Raises `InputError`, `BackendError`."""
    path = Path(path)
    try:
        require_pillow(path).fromarray(image).save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def require_pillow(path: Path) -> Any:
    """Pillow's Image module, or a `BackendError` that names the way out."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise BackendError(
            f"{path.name} needs Pillow: pip install 'perceiver-runtime[images]', or use .npy frames and --flo"
        ) from error
