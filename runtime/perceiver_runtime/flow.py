"""Optical flow on a device: two images in, the motion of every pixel, or of chosen pixels, out."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle import Bundle
from perceiver_runtime.errors import BackendError, InputError, IntegrityError
from perceiver_runtime.flow_processing import (
    Floats,
    FlowProcessor,
    Image,
    model_input,
    nearest_pixels,
    pixel_grid,
    query_positions,
    size_text,
)
from perceiver_runtime.onnx_backend import OnnxGraph
from perceiver_runtime.tiling import blend_weights, tile_grid
from perceiver_runtime.timing import Timing

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    pass


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
        number by default; fewer need less memory). `progress(done, total)` counts tiles and is called before the first and
        after each. Raises `InputError`, `BackendError`.
        """
        first, second = self._frames(frame1, frame2)
        height, width = frame1.shape[:2]
        weights = blend_weights(*self.processor.tile)
        total = np.zeros((*first.shape[:2], 2), np.float32)
        weight_sum = np.zeros(first.shape[:2], np.float32)
        tiles = self._tiles(first)
        pixels = pixel_grid(*self.processor.tile)
        report = progress or _silent
        report(0, len(tiles))
        for done, (top, left) in enumerate(tiles, start=1):
            tile = self._decode_pixels(*self._encode_tile(first, second, top, left), pixels, query_chunk)
            with self.timing.stage("postprocess"):
                window = np.s_[top : top + weights.shape[0], left : left + weights.shape[1]]
                total[window] += tile.reshape(*weights.shape, 2) * weights[..., None]
                weight_sum[window] += weights
            report(done, len(tiles))
        with self.timing.stage("postprocess"):
            return np.ascontiguousarray((total / weight_sum[..., None])[:height, :width])

    def at(self, frame1: Image, frame2: Image, points: NDArray[Any], *, query_chunk: int | None = None) -> Floats:
        """The motion at chosen points alone: equal to the dense field there, decoding nothing else.

        `points` is (K, 2) as (x, y) in pixels of `frame1`, rounded to the nearest pixel. Returns float32 (K, 2) as
        (dx, dy). Only tiles that hold a point are encoded. Raises `InputError`, `BackendError`.
        """
        first, second = self._frames(frame1, frame2)
        places = nearest_pixels(points, frame1.shape[1], frame1.shape[0])
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
        first, second = model_input(frame1, "frame1"), model_input(frame2, "frame2")
        latents, features = self._run_encode(first, second)
        size = (frame1.shape[0], frame1.shape[1])
        return self._decode_pixels(latents, features, size, nearest_pixels(points, size[1], size[0]), None)

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
            first, second = model_input(frame1, "frame1"), model_input(frame2, "frame2")
            if first.shape != second.shape:
                raise InputError(
                    f"the frames differ in size: {size_text(first)} and {size_text(second)}; resize one, or crop both alike"
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
        if query_features.shape[:2] != (1, first.shape[0] * first.shape[1]):
            raise BackendError(f"encode gave query features of shape {query_features.shape} for {size_text(first)} pixels")
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
                    "query_positions": query_positions(piece, size)[None],
                }
                (flow,) = self._decode.run(inputs)
            if flow.shape != (1, len(piece), 2):
                raise BackendError(f"decode gave an output of shape {flow.shape}, expected {(1, len(piece), 2)}")
            flows.append(flow[0] * np.float32(self.processor.flow_scale))
        return np.concatenate(flows)
