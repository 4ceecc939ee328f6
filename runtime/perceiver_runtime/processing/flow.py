"""What surrounds the flow graphs: frames to their input, pixels to query positions, points to pixels. numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import KINDS, PROCESSOR, check_fields, record
from perceiver_runtime.files.images import Picture, read_images
from perceiver_runtime.processing.image import checked_image

Image = NDArray[Any]
Floats = NDArray[np.float32]
MIN_TILE, MAX_TILE = 16, 4096  # pixels a side: bounds memory whatever a manifest says, and positions are exact up to here
MAX_SCALE, MAX_CHUNK = 1e6, 1 << 31


@dataclass(frozen=True)
class FlowProcessor:
    """The constants of a flow bundle's manifest, under `processor`."""

    tile: tuple[int, int]  # height, width the checkpoint was trained at
    min_overlap: int  # pixels that neighbouring tiles share at least
    flow_scale: float  # pixels per unit of the graphs' output
    query_chunk: int  # queries decoded at once, unless the caller says otherwise

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FlowProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        found = record(cls, data, PROCESSOR, ignored=KINDS)
        check_fields(
            PROCESSOR,
            tile=all(MIN_TILE <= side <= MAX_TILE for side in found.tile),
            min_overlap=0 <= found.min_overlap < min(found.tile),
            flow_scale=abs(found.flow_scale) <= MAX_SCALE,
            query_chunk=1 <= found.query_chunk <= MAX_CHUNK,
        )
        return found


def model_input(picture: Picture, name: str) -> Floats:
    """A picture to float32 (H, W, 3) in [-1, 1]; `InputError` if it is none."""
    image = checked_image(picture, name)
    scaled = image.astype(np.float32) / np.float32(127.5) - np.float32(1.0) if image.dtype == np.uint8 else image * 2 - 1
    return np.broadcast_to(scaled, (*scaled.shape[:2], 3))


def read_frames(frame1: Picture, frame2: Picture) -> tuple[Image, Image]:
    """Both frames as arrays; those of more than 8 bits with one scale for both. Raises `InputError`."""
    first, second = read_images([frame1, frame2], ["frame1", "frame2"])
    return first, second


def padded_pair(frame1: Picture, frame2: Picture, tile: tuple[int, int]) -> tuple[Floats, Floats]:
    """Both frames as (H, W, 3) float32 in [-1, 1], their borders repeated up to the size of a tile. Raises `InputError`."""
    frame1, frame2 = read_frames(frame1, frame2)
    first, second = model_input(frame1, "frame1"), model_input(frame2, "frame2")
    if first.shape != second.shape:
        raise InputError(
            f"the frames differ in size: {size_text(first)} and {size_text(second)}; resize one, or crop both alike"
        )
    padding = ((0, max(0, tile[0] - first.shape[0])), (0, max(0, tile[1] - first.shape[1])), (0, 0))
    return np.pad(first, padding, mode="edge"), np.pad(second, padding, mode="edge")


def tile_input(frame1: Picture, frame2: Picture, tile: tuple[int, int]) -> Floats:
    """Two frames no larger than a tile → (2, 3, tile height, tile width) in [-1, 1]. Raises `InputError`."""
    first, second = padded_pair(frame1, frame2, tile)
    if first.shape[:2] != tile:
        raise InputError(f"frames of {size_text(first)} are larger than the model's {tile[1]}x{tile[0]}: crop or resize both")
    return np.stack([first, second]).transpose(0, 3, 1, 2)


def check_frames(inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise `InputError` for frames (B, 2, 3, H, W) that are not in [-1, 1]."""
    frames = inputs["frames"]
    if frames.size and (frames.min() < -1.001 or frames.max() > 1.001):
        raise InputError(f"frames are {frames.min():.3g} to {frames.max():.3g}: give value / 127.5 - 1, which is -1 to 1")


def size_text(image: Image) -> str:
    """Width and height for people."""
    return f"{image.shape[1]}x{image.shape[0]}"


def pixel_grid(height: int, width: int) -> NDArray[np.int64]:
    """(row, column) of every pixel, row by row: (height·width, 2)."""
    return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)


def query_positions(pixels: NDArray[np.int64], size: tuple[int, int]) -> Floats:
    """(row, column) to (y, x) in [-1, 1]: (K, 2)."""
    return np.stack([linear_positions(size[0])[pixels[:, 0]], linear_positions(size[1])[pixels[:, 1]]], axis=-1)


def linear_positions(steps: int) -> Floats:
    """linspace(-1, 1, steps), rounded to float32 as torch rounds it: with a float32 step, and once. (steps,)."""
    step = np.float32(2) / np.float32(steps - 1)
    lower = (np.float64(step) * np.arange(steps) - 1).astype(np.float32)
    return np.where(np.arange(steps) < steps // 2, lower, -lower[::-1]).astype(np.float32)


def nearest_pixels(points: NDArray[Any], width: int, height: int) -> NDArray[np.int64]:
    """Points (K, 2) as (x, y) to (row, column) of the nearest pixel; `InputError` outside the frame."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2 or not np.issubdtype(points.dtype, np.number):
        raise InputError(f"points have shape {points.shape} and type {points.dtype}, expected numbers (K, 2) as (x, y)")
    rounded = np.rint(points.astype(np.float64))
    outside = ~((rounded >= 0) & (rounded < (width, height))).all(axis=1)  # NaN is outside
    if outside.any():
        x, y = points[outside][0]
        limits = f"x in [0, {width - 1}] and y in [0, {height - 1}]"
        raise InputError(f"point ({x}, {y}) is outside the frame of {width}x{height}: give {limits}")
    return rounded[:, ::-1].astype(np.int64)
