"""Optical flow on a device: two images in, the motion of every pixel, or of chosen pixels, out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import memory_bytes, whole_number
from perceiver_runtime.common.arrays import Array, Tensor, gather_rows
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.containers.reading import TimedFrame
from perceiver_runtime.files.images import Picture
from perceiver_runtime.processing.chunks import equal_chunks
from perceiver_runtime.processing.flow import (
    FlowProcessor,
    nearest_pixels,
    padded_pair,
    query_positions,
)
from perceiver_runtime.processing.tiling import tile_grid
from perceiver_runtime.tasks.flow.field import FlowField
from perceiver_runtime.tasks.flow.pair import EncodedPair, PreparedFrame, Scale
from perceiver_runtime.tasks.flow.stream import FlowStream
from perceiver_runtime.tasks.flow.track import Tracked, track
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, Progress, RuntimeOptions


class FlowPipeline(Pipeline):
    """Optical flow from a bundle.

    >>> flow = perceiver_runtime.load("flow")
    >>> field = flow(frame1, frame2)                  # float32 (H, W, 2), pixels, (dx, dy)
    >>> motion = flow.at(frame1, frame2, points)      # float32 (K, 2)
    >>> pair = flow.encode(frame1, frame2)            # pair.field(), pair.at(points), encoded once

    Images larger than the checkpoint's training size are covered with overlapping tiles of that size, blended by distance
    to the tile's edge. Smaller ones are padded to it, repeating their border, and the answer is cropped: positions are
    relative to the frame, so another size would be another scale of motion than the one the checkpoint learnt.
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = FlowProcessor.from_json(bundle.manifest.processor)
        super().__init__(bundle, runtime_options)
        self.processor = replace(self.processor, query_chunk=self.query_limit(self.processor.query_chunk))

    def __call__(
        self,
        frame1: Picture,
        frame2: Picture,
        *,
        scale: Scale = None,
        query_chunk: int | None = None,
        progress: Progress | None = None,
    ) -> FlowField:
        """The motion from `frame1` to `frame2`.

        Frames are what `perceiver_runtime.read_image` takes (paths, the bytes of files, file objects, PIL images, arrays), of
        one size: arrays (H, W, 3) in RGB (`from_bgr` for OpenCV's) or grey (H, W), uint8 or float in [0, 1]; and what `prepare`
        gives. Returns float32 (H, W, 2), an array that notebooks show: pixel (x, y) of `frame1` is at (x + dx, y + dy) in
        `frame2`. With `scale`, a share of their size or "tile" for what fits
        into one tile, frames are made smaller first; the field is of full size and in its pixels all the same.
        `query_chunk` pixels are decoded at once (the manifest's number by default; fewer need less memory).
        `progress(done, total)` counts tiles and is called before the first and after each. Raises `InputError`, `BackendError`.
        """
        pair = self.encode(frame1, frame2, scale=scale, keep=None)
        return pair.field(query_chunk=query_chunk, progress=progress)

    @overload
    def at(
        self,
        frame1: Picture,
        frame2: Picture,
        points: Array,
        *,
        interpolate: bool = False,
        mask: Literal[False] = False,
        query_chunk: int | None = None,
    ) -> Floats: ...

    @overload
    def at(
        self,
        frame1: Picture,
        frame2: Picture,
        points: Array,
        *,
        interpolate: bool = False,
        mask: Literal[True],
        query_chunk: int | None = None,
    ) -> tuple[Floats, NDArray[np.bool_]]: ...

    def at(
        self,
        frame1: Picture,
        frame2: Picture,
        points: Array,
        *,
        interpolate: bool = False,
        mask: bool = False,
        query_chunk: int | None = None,
    ) -> Floats | tuple[Floats, NDArray[np.bool_]]:
        """The motion at chosen points alone: equal to the dense field there, decoding nothing else.

        `points` is (K, 2) as (x, y) in pixels of `frame1`, or OpenCV's (K, 1, 2). Points between pixels are rounded to the
        nearest one, or with `interpolate` the motion is interpolated between the four around. Returns float32 of the points'
        shape as (dx, dy), NaN for points outside the frame, and with `mask` also which are inside: bool (K,) or (K, 1). Only
        tiles that hold a point are encoded. Raises `InputError`, `BackendError`.
        """
        found, inside = self.encode(frame1, frame2, keep=None).at(
            points, interpolate=interpolate, mask=True, query_chunk=query_chunk
        )
        return (found, inside) if mask else found

    def encode(self, frame1: Picture, frame2: Picture, *, scale: Scale = None, keep: int | str | None = "1GB") -> EncodedPair:
        """Two frames, to be asked for their field and for points, encoded once: see `EncodedPair`.

        Takes what a call takes. What encoding gives is kept for tiles that fit into `keep`, bytes or a text such as "1GB"; the
        others are encoded again when they are needed again, as all are with None. Raises `InputError`, `UsageError`.
        """
        room = 0 if keep is None else memory_bytes("keep", keep)
        return EncodedPair(self, self.prepare(frame1, "frame1", scale), self.prepare(frame2, "frame2", scale), room)

    def stream(
        self, frames: Iterable[Any], *, latest: bool = False, scale: Scale = None, query_chunk: int | None = None
    ) -> FlowStream:
        """The fields between each two neighbours of any number of frames, as they come: see `FlowStream`.

        >>> for field in flow.stream(perceiver_runtime.open_video("clip.mp4")):
        ...     pass

        With `latest` a thread reads the frames, each field is of the newest, and those that came meanwhile are counted and
        dropped: for cameras. `scale` and `query_chunk` are those of a call.
        """
        return FlowStream(self, frames, latest=latest, scale=scale, query_chunk=query_chunk)

    def track(
        self,
        frames: Iterable[Any],
        points: Array,
        *,
        max_error: float | None = None,
        scale: Scale = None,
        query_chunk: int | None = None,
    ) -> Iterator[Tracked]:
        """Where points of the first frame are in each frame: see `perceiver_runtime.tasks.flow.track`.

        `points` is (K, 2) or (K, 1, 2) as (x, y). For every frame, the first among them, positions float32 (K, 2) and which are
        valid, bool (K,). A point that leaves the frame, or that flow back does not return to where it came from, is invalid
        and NaN from then on; `max_error` is how far from it in pixels may be (default: Sundaram's rule). Raises `InputError`.
        """
        return track(self, frames, points, max_error=max_error, scale=scale, query_chunk=query_chunk)

    def prepare(self, frame: Picture, name: str = "the frame", scale: Scale = None) -> PreparedFrame:
        """A picture, or a `TimedFrame`, as the graphs take it, to be used in several pairs. Raises `InputError`."""
        if isinstance(frame, PreparedFrame):
            return frame
        with self.timing.stage("preprocess"):
            picture = frame.pixels if isinstance(frame, TimedFrame) else frame
            return PreparedFrame.of(picture, name, self.processor.tile, scale)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `frame1`, `frame2`, `points`; output `flow` (K, 2) in pixels, from the frames' own size, however small."""
        first, second = padded_pair(inputs["frame1"], inputs["frame2"], (0, 0))
        latents, features = self._run_encode(first, second)
        size = (first.shape[0], first.shape[1])
        pixels = nearest_pixels(inputs["points"], size[1], size[0])
        return {"flow": self._decode_pixels(latents, features, size, pixels, None)}

    def _tiles(self, frame: Floats) -> list[tuple[int, int]]:
        return tile_grid(frame.shape[0], frame.shape[1], self.processor.tile, min_overlap=self.processor.min_overlap)

    def _encode_tile(self, first: Floats, second: Floats, top: int, left: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
        window = np.s_[top : top + self.processor.tile[0], left : left + self.processor.tile[1]]
        return (*self._run_encode(first[window], second[window]), self.processor.tile)

    def _run_encode(self, first: Floats, second: Floats) -> tuple[Tensor, Tensor]:
        with self.timing.stage("preprocess"):
            frames = np.ascontiguousarray(np.stack([first, second]).transpose(0, 3, 1, 2)[None])  # (1, 2, 3, H, W)
        pixels = first.shape[0] * first.shape[1]
        latents, query_features = self.encode_inputs({"frames": frames}, (1, None, None), (1, pixels, None))
        return latents, query_features

    def _decode_pixels(
        self, latents: Tensor, query_features: Tensor, size: tuple[int, int], pixels: NDArray[np.int64], query_chunk: int | None
    ) -> Floats:
        """Flow in pixels (K, 2) at `pixels` (K, 2) as (row, column) of a frame of `size`, chunk by chunk."""
        chunk = self.processor.query_chunk if query_chunk is None else query_chunk
        chunk = whole_number("query_chunk", chunk, InputError)
        flows = np.empty((len(pixels), 2), np.float32)
        for start, stop, new in equal_chunks(len(pixels), chunk):
            piece = pixels[start:stop]
            inputs = {
                "latents": latents,
                "query_features": gather_rows(query_features, piece[:, 0] * size[1] + piece[:, 1]),
                "query_positions": query_positions(piece, size)[None],
            }
            flow = self.run("decode", inputs, shape=(1, len(piece), 2))
            flows[new:stop] = flow[0, new - start :] * np.float32(self.processor.flow_scale)
        return flows
