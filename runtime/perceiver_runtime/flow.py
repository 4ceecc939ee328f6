"""Optical flow on a device: two images in, the motion of every pixel, or of chosen pixels, out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle import Bundle
from perceiver_runtime.errors import BackendError, InputError, IntegrityError
from perceiver_runtime.onnx_backend import OnnxGraph
from perceiver_runtime.tiling import blend_weights, tile_grid

Image = NDArray[Any]
Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
MAX_TILE = 4096  # pixels a side: bounds memory whatever a manifest says, and positions are exact up to here


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
        try:
            height, width = data["tile"]
            result = cls(
                tile=(int(height), int(width)),
                min_overlap=int(data["min_overlap"]),
                flow_scale=float(data["flow_scale"]),
                query_chunk=int(data["query_chunk"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"the manifest's processor constants are not those of a flow bundle ({error!r})") from error
        sizes_valid = 0 <= result.min_overlap < min(result.tile) and max(result.tile) <= MAX_TILE and result.query_chunk >= 1
        if not sizes_valid or not math.isfinite(result.flow_scale):
            raise IntegrityError(f"the manifest's processor constants make no sense: {data}")
        return result


@dataclass
class Timing:
    """Seconds spent in each stage since the pipeline was loaded or `reset`, summed over tiles, chunks and threads."""

    preprocess: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    postprocess: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside under `name`."""
        start = time.perf_counter()
        yield
        with self._lock:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)

    def seconds(self) -> dict[str, float]:
        """The four sums by stage."""
        return {name: getattr(self, name) for name in ("preprocess", "encode", "decode", "postprocess")}


class FlowPipeline:
    """Optical flow from a bundle. Callable, safe to share between threads, closes on `with`.

    >>> flow = perceiver_runtime.load("flow")
    >>> field = flow(frame1, frame2)                  # float32 (H, W, 2), pixels, (dx, dy)
    >>> tracks = flow.at(frame1, frame2, points)      # float32 (K, 2)

    Images larger than the checkpoint's training size are covered with overlapping tiles of that size, blended by distance
    to the tile's edge. Smaller ones are padded to it, repeating their border, and the answer is cropped: positions are
    relative to the frame, so another size would be another scale of motion than the one the checkpoint learnt.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> None:
        graphs = bundle.manifest.graphs
        if set(graphs) != {"encode", "decode"}:
            raise IntegrityError(f"a flow bundle has the graphs encode and decode, this one {sorted(graphs)}")
        self.manifest = bundle.manifest
        self.processor = FlowProcessor.from_json(bundle.manifest.processor)
        self.timing = Timing()
        self._encode, self._decode = (
            OnnxGraph(bundle.path(graphs[name].file), graphs[name], device=device, threads=threads)
            for name in ("encode", "decode")
        )
        for entry in bundle.manifest.files:  # nothing that was hashed may have changed while sessions opened
            bundle.path(entry.path)

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider in use."""
        return self._encode.provider

    def __call__(
        self, frame1: Image, frame2: Image, *, query_chunk: int | None = None, progress: Progress | None = None
    ) -> Floats:
        """The motion from `frame1` to `frame2`.

        Frames are (H, W, 3) or grey (H, W), uint8 or float in [0, 1], of one size. Returns float32 (H, W, 2): pixel
        (x, y) of `frame1` is at (x + dx, y + dy) in `frame2`. `query_chunk` pixels are decoded at once (the manifest's
        number by default; fewer need less memory). `progress(done, total)` is called after each tile. Raises
        `InputError`, `BackendError`.
        """
        first, second = self._frames(frame1, frame2)
        height, width = frame1.shape[:2]
        weights = blend_weights(*self.processor.tile)
        total = np.zeros((*first.shape[:2], 2), np.float32)
        weight_sum = np.zeros(first.shape[:2], np.float32)
        tiles = self._tiles(first)
        pixels = _grid(*self.processor.tile)
        for done, (top, left) in enumerate(tiles, start=1):
            tile = self._decode_pixels(*self._encode_tile(first, second, top, left), pixels, query_chunk)
            with self.timing.stage("postprocess"):
                window = np.s_[top : top + weights.shape[0], left : left + weights.shape[1]]
                total[window] += tile.reshape(*weights.shape, 2) * weights[..., None]
                weight_sum[window] += weights
            if progress:
                progress(done, len(tiles))
        with self.timing.stage("postprocess"):
            return np.ascontiguousarray((total / weight_sum[..., None])[:height, :width])

    def at(self, frame1: Image, frame2: Image, points: NDArray[Any], *, query_chunk: int | None = None) -> Floats:
        """The motion at chosen points alone: equal to the dense field there, decoding nothing else.

        `points` is (K, 2) as (x, y) in pixels of `frame1`, rounded to the nearest pixel. Returns float32 (K, 2) as
        (dx, dy). Only tiles that hold a point are encoded. Raises `InputError`, `BackendError`.
        """
        first, second = self._frames(frame1, frame2)
        places = _pixel_indices(points, frame1.shape[1], frame1.shape[0])
        tile_height, tile_width = self.processor.tile
        weights = blend_weights(tile_height, tile_width)
        total, weight_sum = np.zeros((len(places), 2), np.float32), np.zeros(len(places), np.float32)
        for top, left in self._tiles(first):
            local = places - (top, left)  # (K, 2) as (row, column)
            inside = np.flatnonzero(((local >= 0) & (local < (tile_height, tile_width))).all(axis=1))
            if len(inside) == 0:
                continue
            flow = self._decode_pixels(*self._encode_tile(first, second, top, left), local[inside], query_chunk)
            weight = weights[local[inside, 0], local[inside, 1]]
            total[inside] += flow * weight[:, None]
            weight_sum[inside] += weight
        return total / weight_sum[:, None]

    def known_answer(self, frame1: Image, frame2: Image, points: NDArray[Any]) -> Floats:
        """Like `at`, but the graphs run once at the frames' own size, however small: for `perceiver verify`."""
        first, second = _as_model_input(frame1, "frame1"), _as_model_input(frame2, "frame2")
        latents, features = self._run_encode(first, second)
        size = (frame1.shape[0], frame1.shape[1])
        return self._decode_pixels(latents, features, size, _pixel_indices(points, size[1], size[0]), None)

    def close(self) -> None:
        """Release the sessions. Also done at the end of a `with` block."""
        self._encode.close()
        self._decode.close()

    def __enter__(self) -> FlowPipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _frames(self, frame1: Image, frame2: Image) -> tuple[Floats, Floats]:
        """Both frames as (H, W, 3) float32 in [-1, 1], padded to at least the training size."""
        with self.timing.stage("preprocess"):
            first, second = _as_model_input(frame1, "frame1"), _as_model_input(frame2, "frame2")
            if first.shape != second.shape:
                raise InputError(
                    f"the frames differ in size: {_size(first)} and {_size(second)}; resize one, or crop both alike"
                )
            tile_height, tile_width = self.processor.tile
            below, right = max(0, tile_height - first.shape[0]), max(0, tile_width - first.shape[1])
            padding = ((0, below), (0, right), (0, 0))
            return np.pad(first, padding, mode="edge"), np.pad(second, padding, mode="edge")

    def _tiles(self, frame: Floats) -> list[tuple[int, int]]:
        return tile_grid(frame.shape[0], frame.shape[1], self.processor.tile, min_overlap=self.processor.min_overlap)

    def _encode_tile(self, first: Floats, second: Floats, top: int, left: int) -> tuple[Floats, Floats, tuple[int, int]]:
        window = np.s_[top : top + self.processor.tile[0], left : left + self.processor.tile[1]]
        return (*self._run_encode(first[window], second[window]), self.processor.tile)

    def _run_encode(self, first: Floats, second: Floats) -> tuple[Floats, Floats]:
        with self.timing.stage("preprocess"):
            frames = np.ascontiguousarray(np.stack([first, second]).transpose(0, 3, 1, 2)[None])  # (1, 2, 3, H, W)
        with self.timing.stage("encode"):
            latents, query_features = self._encode.run({"frames": frames})
            return latents, query_features

    def _decode_pixels(
        self, latents: Floats, query_features: Floats, size: tuple[int, int], pixels: NDArray[np.int64], query_chunk: int | None
    ) -> Floats:
        """Flow in pixels (K, 2) at `pixels` (K, 2) as (row, column) of a frame of `size`, chunk by chunk."""
        chunk = self.processor.query_chunk if query_chunk is None else query_chunk
        if chunk < 1:
            raise InputError(f"query_chunk is {chunk}: give at least 1")
        parts = math.ceil(len(pixels) / chunk)
        flows = [np.zeros((0, 2), np.float32)]
        for piece in np.array_split(pixels, max(1, parts)):
            if len(piece) == 0:
                continue
            with self.timing.stage("decode"):
                inputs = {
                    "latents": latents,
                    "query_features": query_features[:, piece[:, 0] * size[1] + piece[:, 1]],
                    "query_positions": _positions(piece, size)[None],
                }
                (flow,) = self._decode.run(inputs)
            if flow.shape != (1, len(piece), 2):
                raise BackendError(f"decode gave an output of shape {flow.shape}, expected {(1, len(piece), 2)}")
            flows.append(flow[0] * np.float32(self.processor.flow_scale))
        return np.concatenate(flows)


def _as_model_input(image: Image, name: str) -> Floats:
    """An image to float32 (H, W, 3) in [-1, 1]; `InputError` if it is not an image."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"{name} is a {type(image).__name__}, expected a numpy array (H, W, 3): read the file first")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise InputError(f"{name} has shape {image.shape}, expected (H, W, 3), or (H, W) for grey: drop other channels")
    if image.dtype == np.uint8:
        scaled = image.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
    elif np.issubdtype(image.dtype, np.floating):
        if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
            raise InputError(f"{name} is {image.dtype} with values outside [0, 1] or not finite: divide by 255, or give uint8")
        scaled = image.astype(np.float32) * 2 - 1
    else:
        raise InputError(f"{name} is {image.dtype}, expected uint8, or float in [0, 1]: convert it")
    return np.broadcast_to(scaled, (*scaled.shape[:2], 3))


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _grid(height: int, width: int) -> NDArray[np.int64]:
    """(row, column) of every pixel, row by row: (height·width, 2)."""
    return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)


def _positions(pixels: NDArray[np.int64], size: tuple[int, int]) -> Floats:
    """(row, column) to (y, x) in [-1, 1]: (K, 2)."""
    return np.stack([_linear_positions(size[0])[pixels[:, 0]], _linear_positions(size[1])[pixels[:, 1]]], axis=-1)


def _linear_positions(steps: int) -> Floats:
    """linspace(-1, 1, steps), rounded to float32 as torch rounds it: with a float32 step, and once. (steps,)."""
    step = np.float32(2) / np.float32(max(steps - 1, 1))
    lower = (np.float64(step) * np.arange(steps) - 1).astype(np.float32)
    return np.where(np.arange(steps) < steps // 2, lower, -lower[::-1]).astype(np.float32)


def _pixel_indices(points: NDArray[Any], width: int, height: int) -> NDArray[np.int64]:
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
