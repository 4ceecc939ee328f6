"""KITTI's flow files: 16-bit PNG, (value - 2^15) / 64 pixels in red and green, blue not 0 where the motion is known.

That is the format of the development kit of KITTI 2012 and 2015 (A. Geiger and others, M. Menze and others). Motion beyond 512
pixels does not fit, and steps are 1/64 of a pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.outputs import check_ending, replacing
from perceiver_runtime.files.pictures.png import decode_png16, encode_png

_ZERO, _STEPS = 1 << 15, 64


def read_kitti_flow(path: str | Path) -> NDArray[np.float32]:
    """Flow from a 16-bit PNG: float32 (H, W, 2) in pixels, NaN where it is unknown. Raises `InputError`."""
    path = Path(path)
    try:
        values = decode_png16(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    flow: NDArray[np.float32] = (values[..., :2].astype(np.float32) - np.float32(_ZERO)) / np.float32(_STEPS)
    flow[values[..., 2] == 0] = np.nan
    return flow


def write_kitti_flow(path: str | Path, flow: NDArray[Any]) -> None:
    """Write flow (H, W, 2) in pixels as a 16-bit PNG, rounded to 1/64; what is not finite is unknown.

    Raises `InputError`, also for motion of 512 pixels and more, which does not fit.
    """
    check_ending(path, (".png",), "KITTI's flow")
    content = encode_kitti_flow(flow, str(path))
    with replacing(path) as whole:
        whole.write_bytes(content)


def encode_kitti_flow(flow: NDArray[Any], name: str = "the flow") -> bytes:
    """The same as the bytes of the file, which errors call `name`."""
    if flow.ndim != 3 or flow.shape[2] != 2 or 0 in flow.shape:
        raise InputError(f"flow has shape {flow.shape}, expected (H, W, 2)")
    known = np.isfinite(flow).all(axis=2)
    values = np.rint(np.where(known[..., None], flow, 0).astype(np.float64) * _STEPS) + _ZERO
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{name} cannot be written: KITTI's files hold motion up to 512 pixels; use .flo")
    picture = np.concatenate([np.where(known[..., None], values, 0), known[..., None]], axis=2).astype(np.uint16)
    return encode_png(picture)
