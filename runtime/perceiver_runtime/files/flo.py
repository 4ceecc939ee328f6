"""Middlebury's `.flo` files: the tag 202021.25, width, height, then (dx, dy) row by row, all little-endian."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.outputs import replacing

_TAG = b"PIEH"  # 202021.25 as float32
_MAX_PIXELS = 1 << 28


def read_flo(path: str | Path) -> NDArray[np.float32]:
    """Flow from a `.flo` file: float32 (H, W, 2) in pixels. Raises `InputError`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = file.read(12)
            size = os.fstat(file.fileno()).st_size
            if len(header) < 12 or header[:4] != _TAG:
                raise InputError(f"{path} is no .flo file: it does not begin with the tag 202021.25")
            width, height = (int(side) for side in np.frombuffer(header[4:], "<i4"))
            if width < 1 or height < 1 or width * height > _MAX_PIXELS or size != 12 + width * height * 8:
                raise InputError(f"{path} says {width}x{height} and has {size} bytes: it is damaged")
            return np.frombuffer(file.read(), "<f4").reshape(height, width, 2).astype(np.float32)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def write_flo(path: str | Path, flow: NDArray[Any]) -> None:
    """Write flow (H, W, 2) in pixels as a `.flo` file. Raises `InputError`."""
    content = encode_flo(flow)
    with replacing(path) as whole:
        whole.write_bytes(content)


def encode_flo(flow: NDArray[Any]) -> bytes:
    """Flow (H, W, 2) in pixels as the bytes of a `.flo` file. Raises `InputError`."""
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"flow has shape {flow.shape}, expected (H, W, 2)")
    size = np.array([flow.shape[1], flow.shape[0]], "<i4")
    return _TAG + size.tobytes() + np.ascontiguousarray(flow, "<f4").tobytes()
