"""What people hand over as a file or an array, told apart in one place.

A file is a path, its bytes, or an object that reads them; an array is numpy's, or anything that numpy converts, such as a
tensor of PyTorch in the host's memory. Nothing is imported for that: an object of a library that is not loaded is none.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError

MAX_BYTES = 1 << 30  # of a file that is given as bytes or by an object
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|data|file):", re.IGNORECASE)


class Source(NamedTuple):
    """A file, by its path or its content, and what to call it in errors."""

    file: Path | bytes
    name: str


def file_source(value: Any, name: str) -> Source | None:
    """The file that a value stands for; None where it is none. Raises `InputError`, see the module.

    `name` is what errors call a file that has no path.
    """
    if isinstance(value, (str, os.PathLike)):
        path = os.fsdecode(value)
        if not path or _ADDRESS.match(path):
            found = "an empty name" if not path else f"an address, {path[:80]}"
            raise InputError(f"{name} is {found}: give the path of a file that is here")
        return Source(Path(path), path)
    if isinstance(value, (bytes, bytearray, memoryview)):
        content = bytes(value)
    elif is_file_object(value):
        content = value.read(MAX_BYTES + 1)
        if not isinstance(content, bytes):
            raise InputError(f"{name} is a file opened for {type(content).__name__}: open it with mode 'rb'")
    else:
        return None
    if not 0 < len(content) <= MAX_BYTES:
        found = f"more than the {MAX_BYTES} bytes allowed" if content else "nothing; a file object may have been read already"
        raise InputError(f"{name} holds {found}")
    return Source(content, name)


def check_file(file: Path | bytes) -> None:
    """Raise `InputError` for a path where there is no file."""
    try:
        missing = not isinstance(file, bytes) and not file.is_file()
    except OSError:  # a name that is too long, or a link to itself
        missing = True
    if missing:
        shown = str(file)
        raise InputError(f"there is no file {shown if len(shown) < 300 else shown[:300] + '…'}")


def is_file(value: Any) -> bool:
    """Whether a value stands for a file: then `file_source` reads it, or says why not."""
    return isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview)) or is_file_object(value)


def is_file_object(value: Any) -> bool:
    """Whether a value reads as a file does."""
    return callable(getattr(value, "read", None))


def is_pillow_image(value: Any) -> bool:
    """Whether a value is a picture of Pillow's."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def array_of(value: Any, name: str) -> Array | None:
    """A value as an array; None where it is none. Raises `InputError` where numpy should convert it and cannot."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, type) or not (hasattr(value, "__array__") or hasattr(value, "__array_interface__")):
        return None
    try:
        return np.asarray(value)
    except Exception as error:  # of the value's own library: a tensor on a GPU, or one with a gradient
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name} is a {type(value).__name__} that numpy cannot convert ({reason}): give tensor.detach().cpu().numpy()"
        ) from error


def several(value: Any, *, axes: int = 0, tuples: bool = True) -> list[Any] | None:
    """The items of a list, of a generator or another iterator, or of an array; None for what is one item.

    An array is several items where it has `axes` + 1 axes (0: never), or one axis of texts or objects. With `tuples` off a
    tuple is one item.
    """
    if isinstance(value, list) or (isinstance(value, tuple) and tuples):
        return list(value)
    if isinstance(value, Iterator) and not is_file_object(value):
        return list(value)
    array = None if is_pillow_image(value) else array_of(value, "the input")
    if array is None:
        return None
    if array.ndim == 1 and array.dtype.kind in "OU":
        return list(array)
    return list(array) if axes and array.ndim == axes + 1 else None
