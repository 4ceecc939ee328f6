"""Seeing a flow field: as a colour picture, or by moving the second frame back onto the first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

# How many steps the wheel takes between neighbouring hues, and which channels rise or fall on the way
# (S. Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011; the Middlebury colour code).
_ARCS = (
    ("red", "yellow", 15),
    ("yellow", "green", 6),
    ("green", "cyan", 4),
    ("cyan", "blue", 11),
    ("blue", "magenta", 13),
    ("magenta", "red", 6),
)
_HUES = {
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "magenta": (255, 0, 255),
}
UNKNOWN = 1e9  # pixels, from which on motion in a .flo file means that it is unknown


def color_wheel() -> NDArray[np.float32]:
    """The Middlebury colour wheel: float32 (55, 3) in [0, 1], from red over yellow, green, cyan, blue, magenta."""
    arcs = [
        np.floor(np.asarray(_HUES[start]) + (np.subtract(_HUES[end], _HUES[start])) * (np.arange(steps)[:, None] / steps))
        for start, end, steps in _ARCS
    ]
    return (np.concatenate(arcs) / 255).astype(np.float32)


def flow_to_image(flow: NDArray[Any], *, max_motion: float | None = None) -> NDArray[np.uint8]:
    """Flow (H, W, 2) as (dx, dy) in pixels → uint8 (H, W, 3): hue is direction, strength of colour is length.

    Motion of `max_motion` pixels (the longest in the field by default) has full colour, longer motion is darkened, none is
    white. Unknown motion is black and sets no scale: what is not finite, and as in Middlebury's files 1e9 pixels or more.
    """
    flow = _checked(flow)
    if max_motion is not None and not max_motion > 0:
        raise InputError(f"max_motion is {max_motion}: give a positive number of pixels")
    known = known_motion(flow)
    flow = np.where(known[..., None], flow, 0).astype(np.float32)
    length = np.hypot(flow[..., 0], flow[..., 1])
    scale = float(length.max()) if max_motion is None else float(max_motion)
    radius = length / max(scale, 1e-6)
    wheel = color_wheel()
    angle = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi  # in [-1, 1]
    place = (angle + 1) / 2 * (len(wheel) - 1)
    below = np.floor(place).astype(np.int64)
    share = (place - below)[..., None]
    hue = (1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]
    within = (radius <= 1)[..., None]
    color = np.where(within, 1 - radius[..., None] * (1 - hue), hue * 0.75)
    picture: NDArray[np.uint8] = np.floor(255 * color * known[..., None]).astype(np.uint8)
    return picture


def warp(image: NDArray[Any], flow: NDArray[Any]) -> NDArray[np.float32]:
    """The second frame moved back along the flow, to be compared with the first: ``warp(frame2, field) ≈ frame1``.

    image (H, W, C) or (H, W), flow (H, W, 2) in pixels → float32 of the image's shape and scale, sampled bilinearly at
    (x + dx, y + dy); outside the image its border repeats. Where the motion is unknown the result is 0.
    """
    flow = _checked(flow)
    known = known_motion(flow)
    flow = np.where(known[..., None], flow, 0)
    if image.shape[:2] != flow.shape[:2]:
        raise InputError(f"the image is {image.shape[:2]}, the flow {flow.shape[:2]}: they must be of one size")
    height, width = image.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x = np.clip(columns + flow[..., 0], 0, width - 1)
    y = np.clip(rows + flow[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    extra = (1,) * (image.ndim - 2)
    across, down = (x - left).reshape(height, width, *extra), (y - top).reshape(height, width, *extra)
    pixels = image.astype(np.float32)
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[bottom, left] * (1 - across) + pixels[bottom, right] * across
    moved = (upper * (1 - down) + lower * down) * known.reshape(height, width, *extra)
    result: NDArray[np.float32] = moved.astype(np.float32)
    return result


def known_motion(flow: NDArray[Any]) -> NDArray[np.bool_]:
    """Where motion is known: (H, W)."""
    known: NDArray[np.bool_] = (np.isfinite(flow) & (np.abs(flow) < UNKNOWN)).all(axis=-1)
    return known


def _checked(flow: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(flow, np.ndarray):
        raise InputError(f"flow is a {type(flow).__name__}, expected a numpy array (H, W, 2)")
    if flow.ndim != 3 or flow.shape[2] != 2 or 0 in flow.shape:
        raise InputError(f"flow has shape {flow.shape}, expected (H, W, 2)")
    return flow
