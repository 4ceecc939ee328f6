"""Optical flow on a device: two images in, the motion of every pixel, or of chosen pixels, out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array, Tensor, gather_rows
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.images import Picture
from perceiver_runtime.processing.flow import (
    FlowProcessor,
    Image,
    nearest_pixels,
    padded_pair,
    pixel_grid,
    query_positions,
    read_frames,
)
from perceiver_runtime.processing.tiling import blend_weights, tile_grid
from perceiver_runtime.tasks.flow.field import FlowField, as_field
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, Progress, RuntimeOptions, silent


class FlowPipeline(Pipeline):
    """Optical flow from a bundle.

    >>> flow = perceiver_runtime.load("flow")
    >>> field = flow(frame1, frame2)                  # float32 (H, W, 2), pixels, (dx, dy)
    >>> tracks = flow.at(frame1, frame2, points)      # float32 (K, 2)

    Images larger than the checkpoint's training size are covered with overlapping tiles of that size, blended by distance
    to the tile's edge. Smaller ones are padded to it, repeating their border, and the answer is cropped: positions are
    relative to the frame, so another size would be another scale of motion than the one the checkpoint learnt.
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = FlowProcessor.from_json(bundle.manifest.processor)
        super().__init__(bundle, runtime_options)
        self.processor = replace(self.processor, query_chunk=self.query_limit(self.processor.query_chunk))

    def __call__(
        self, frame1: Picture, frame2: Picture, *, query_chunk: int | None = None, progress: Progress | None = None
    ) -> FlowField:
        """The motion from `frame1` to `frame2`.

        Frames are what `perceiver_runtime.read_image` takes (paths, the bytes of files, file objects, PIL images, arrays), of
        one size: arrays (H, W, 3) in RGB (`from_bgr` for OpenCV's) or grey (H, W), uint8 or float in [0, 1]. Returns float32
        (H, W, 2), an array that notebooks show: pixel (x, y) of `frame1` is at (x + dx, y + dy) in `frame2`. `query_chunk`
        pixels are decoded at once (the manifest's number by default; fewer need less memory). `progress(done, total)` counts
        tiles and is called before the first and after each. Raises `InputError`, `BackendError`.
        """
        frame1, frame2 = read_frames(frame1, frame2)
        first, second = self._frames(frame1, frame2)
        height, width = frame1.shape[:2]
        weights = blend_weights(*self.processor.tile)
        total = np.zeros((*first.shape[:2], 2), np.float32)
        weight_sum = np.zeros(first.shape[:2], np.float32)
        tiles = self._tiles(first)
        pixels = pixel_grid(*self.processor.tile)
        report = progress or silent
        report(0, len(tiles))
        for done, (top, left) in enumerate(tiles, start=1):
            tile = self._decode_pixels(*self._encode_tile(first, second, top, left), pixels, query_chunk)
            with self.timing.stage("postprocess"):
                window = np.s_[top : top + weights.shape[0], left : left + weights.shape[1]]
                total[window] += tile.reshape(*weights.shape, 2) * weights[..., None]
                weight_sum[window] += weights
            report(done, len(tiles))
        with self.timing.stage("postprocess"):
            return as_field(np.ascontiguousarray((total / weight_sum[..., None])[:height, :width]))

    def at(self, frame1: Picture, frame2: Picture, points: NDArray[Any], *, query_chunk: int | None = None) -> Floats:
        """The motion at chosen points alone: equal to the dense field there, decoding nothing else.

        `points` is (K, 2) as (x, y) in pixels of `frame1`, rounded to the nearest pixel. Returns float32 (K, 2) as
        (dx, dy). Only tiles that hold a point are encoded. Raises `InputError`, `BackendError`.
        """
        frame1, frame2 = read_frames(frame1, frame2)
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

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `frame1`, `frame2`, `points`; output `flow` (K, 2) in pixels, from the frames' own size, however small."""
        first, second = padded_pair(inputs["frame1"], inputs["frame2"], (0, 0))
        latents, features = self._run_encode(first, second)
        size = (first.shape[0], first.shape[1])
        pixels = nearest_pixels(inputs["points"], size[1], size[0])
        return {"flow": self._decode_pixels(latents, features, size, pixels, None)}

    def _frames(self, frame1: Image, frame2: Image) -> tuple[Floats, Floats]:
        """Both frames as (H, W, 3) float32 in [-1, 1], padded to at least the training size."""
        with self.timing.stage("preprocess"):
            return padded_pair(frame1, frame2, self.processor.tile)

    def _tiles(self, frame: Floats) -> list[tuple[int, int]]:
        return tile_grid(frame.shape[0], frame.shape[1], self.processor.tile, min_overlap=self.processor.min_overlap)

    def _encode_tile(self, first: Floats, second: Floats, top: int, left: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        window = np.s_[top : top + self.processor.tile[0], left : left + self.processor.tile[1]]
        return (*self._run_encode(first[window], second[window]), self.processor.tile)

    def _run_encode(self, first: Floats, second: Floats) -> tuple[Tensor, Tensor]:
        with self.timing.stage("preprocess"):
            frames = np.ascontiguousarray(np.stack([first, second]).transpose(0, 3, 1, 2)[None])  # (1, 2, 3, H, W)
        pixels = first.shape[0] * first.shape[1]
        latents, query_features = self.encode({"frames": frames}, (1, None, None), (1, pixels, None))
        return latents, query_features

    def _decode_pixels(
        self, latents: Tensor, query_features: Tensor, size: tuple[int, int], pixels: NDArray[np.int64], query_chunk: int | None
    ) -> Floats:
        """Flow in pixels (K, 2) at `pixels` (K, 2) as (row, column) of a frame of `size`, chunk by chunk."""
        chunk = self.processor.query_chunk if query_chunk is None else query_chunk
        chunk = whole_number("query_chunk", chunk, InputError)
        parts = math.ceil(len(pixels) / chunk)
        flows = [np.zeros((0, 2), np.float32)]
        for piece in np.array_split(pixels, max(1, parts)):
            if len(piece) == 0:
                continue
            inputs = {
                "latents": latents,
                "query_features": gather_rows(query_features, piece[:, 0] * size[1] + piece[:, 1]),
                "query_positions": query_positions(piece, size)[None],
            }
            flow = self.run("decode", inputs, shape=(1, len(piece), 2))
            flows.append(flow[0] * np.float32(self.processor.flow_scale))
        return np.concatenate(flows)
