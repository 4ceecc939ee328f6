"""Numpy's `.npy` files, read without numpy's own parser: the header is bounded and checked before anything is allocated.

Taken are plain numbers (booleans, integers, floats) in one array that fills the rest of the file exactly. No pickles, no
records, no types of zero bytes.
"""

from __future__ import annotations

import ast
import io
import math
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError

MAX_BYTES = 1 << 30  # read at once, of an array in a file
MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 14
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # of the header's length, by version of the format


class ArrayHeader(NamedTuple):
    """What a `.npy` file holds."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        """Of the array's values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array(path: Path, *, rows: slice | None = None) -> Array:
    """The array of a `.npy` file, or `rows` of its first axis, reading only those. Raises `InputError`."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
            found, start = os.fstat(file.fileno()).st_size, file.tell()
        if found - start != header.nbytes:
            raise ValueError(f"its header says {header.nbytes} bytes of {header.shape}, {found - start} follow")
        whole: Array = np.zeros(header.shape, header.dtype) if header.nbytes == 0 else _mapped(path, start, header)
        chosen = whole if rows is None or whole.ndim == 0 else whole[rows]
        if chosen.nbytes > MAX_BYTES:
            raise InputError(f"{path} holds {header.shape}, {chosen.nbytes} bytes, more than the {MAX_BYTES} allowed: cut it")
        return np.array(chosen)
    except (ValueError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as a numpy array: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read as a numpy array: {error.strerror or error}") from error


def array_of_bytes(content: bytes, name: str) -> Array:
    """The array of a `.npy` file's bytes; `name` is what errors call it. Raises `InputError`."""
    file = io.BytesIO(content)
    try:
        header = read_header(file)
        raw = content[file.tell() :]
        if len(raw) != header.nbytes:
            raise ValueError(f"its header says {header.nbytes} bytes of {header.shape}, {len(raw)} follow")
        order: Any = "F" if header.fortran_order else "C"
        return np.array(np.frombuffer(raw, header.dtype).reshape(header.shape, order=order))
    except ValueError as error:
        raise InputError(f"{name} cannot be read as a numpy array: {error}") from error


def read_header(file: IO[bytes]) -> ArrayHeader:
    """The header at the file's place, which is then at the array's first byte. Raises `ValueError`."""
    magic = file.read(8)
    if len(magic) < 8 or magic[:6] != MAGIC or magic[6] not in _LENGTH_BYTES:
        raise ValueError("it does not begin as a .npy file does")
    length = int.from_bytes(file.read(_LENGTH_BYTES[magic[6]]), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"its header has {length} bytes, more than the {_MAX_HEADER} allowed")
    try:
        header = ast.literal_eval(file.read(length).decode("utf-8" if magic[6] == 3 else "latin-1").strip())
        descr, shape, fortran_order = header["descr"], header["shape"], header["fortran_order"]
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError, ValueError) as error:
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    sizes_valid = isinstance(shape, tuple) and len(shape) <= 16 and all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
    if not isinstance(descr, str) or not sizes_valid or type(fortran_order) is not bool:
        raise ValueError("its header does not describe one array of plain numbers")
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"its type is {descr[:40]!r}, which is unknown") from error
    if dtype.kind not in "biuf":
        raise ValueError(f"its values are {descr[:40]!r}, expected booleans, integers or floats")
    return ArrayHeader(dtype, shape, fortran_order)


def _mapped(path: Path, start: int, header: ArrayHeader) -> Array:
    order: Any = "F" if header.fortran_order else "C"
    values: Array = np.memmap(path, mode="r", dtype=np.uint8, offset=start).view(header.dtype)
    return values.reshape(header.shape, order=order)
