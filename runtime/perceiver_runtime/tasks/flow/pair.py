"""Two frames, encoded once, and what can be asked of them: the whole field, the motion at points."""

from __future__ import annotations

import math
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.images import Picture, read_unscaled
from perceiver_runtime.files.pictures.depth import scaled, value_range
from perceiver_runtime.processing.flow import model_input, pixel_grid
from perceiver_runtime.processing.points import Doubles, flat_points, inside_frame, neighbours
from perceiver_runtime.processing.resize import resize
from perceiver_runtime.processing.tiling import blend_weights
from perceiver_runtime.tasks.calls import whole_call
from perceiver_runtime.tasks.flow.field import FlowField, as_field
from perceiver_runtime.tasks.pipeline import Floats, Progress, silent

if TYPE_CHECKING:
    from perceiver_runtime.tasks.flow.pipeline import FlowPipeline

Scale = float | Literal["tile"] | None
_BILINEAR = 2  # Pillow's number
_Encoded = tuple[Tensor, Tensor, tuple[int, int]]


class Deep(NamedTuple):
    """A picture of more than 8 bits as it was read, to be scaled by the range of two."""

    image: Array  # (H, W)
    ends: Array  # its least and greatest value
    name: str
    tile: tuple[int, int]
    scale: Scale


@dataclass(frozen=True)
class PreparedFrame:
    """A frame as the graphs take it: float32 (H, W, 3) in [-1, 1], at least as large as a tile."""

    pixels: Floats
    size: tuple[int, int]  # height and width of what is in it, which may be less
    full_size: tuple[int, int]  # before it was made smaller
    deep: Deep | None  # where it is a picture of more than 8 bits

    @classmethod
    def of(cls, picture: Picture, name: str, tile: tuple[int, int], scale: Scale) -> PreparedFrame:
        """Of what `read_image` takes. Raises `InputError`."""
        image, is_deep = read_unscaled(picture, name)
        if not is_deep:
            return cls._of(image, name, tile, scale, None)
        deep = Deep(image, np.stack([image.min(), image.max()]), name, tile, scale)
        return cls._scaled(deep, value_range([deep.ends]))

    def within_range_of(self, other: PreparedFrame) -> PreparedFrame:
        """The same, with one scale for it and the other where both are of more than 8 bits, so that equal values stay equal."""
        if self.deep is None or other.deep is None:
            return self
        limits = value_range([self.deep.ends, other.deep.ends])
        return self if limits == value_range([self.deep.ends]) else self._scaled(self.deep, limits)

    @classmethod
    def _scaled(cls, deep: Deep, limits: tuple[float, float]) -> PreparedFrame:
        return cls._of(scaled(deep.image, *limits), deep.name, deep.tile, deep.scale, deep)

    @classmethod
    def _of(cls, image: Array, name: str, tile: tuple[int, int], scale: Scale, deep: Deep | None) -> PreparedFrame:
        pixels = model_input(image, name)
        full_size = size = (pixels.shape[0], pixels.shape[1])
        if scale is not None:
            share = min(1.0, tile[0] / size[0], tile[1] / size[1]) if scale == "tile" else _share(scale)
            size = (max(1, round(share * size[0])), max(1, round(share * size[1])))
            pixels = pixels if size == full_size else resize(pixels, size, _BILINEAR)
        padding = ((0, max(0, tile[0] - size[0])), (0, max(0, tile[1] - size[1])), (0, 0))
        return cls(np.pad(pixels, padding, mode="edge"), size, full_size, deep)


class EncodedPair:
    """Two frames whose encoding is kept, of `flow.encode(frame1, frame2)`.

    >>> pair = flow.encode(frame1, frame2)
    >>> field = pair.field()          # float32 (H, W, 2)
    >>> motion = pair.at(points)      # float32 (K, 2), of the same encoding

    Nothing is encoded before it is needed: points encode their tiles alone. A field is kept too, so that points asked for after
    it cost nothing.
    """

    def __init__(self, flow: FlowPipeline, first: PreparedFrame, second: PreparedFrame, room: int) -> None:
        if first.full_size != second.full_size:
            (height1, width1), (height2, width2) = first.full_size, second.full_size
            raise InputError(
                f"the frames differ in size: {width1}x{height1} and {width2}x{height2}; resize one, or crop both alike"
            )
        self._flow = flow
        self._first, self._second = first.within_range_of(second).pixels, second.within_range_of(first).pixels
        self._size, self._full_size = first.size, first.full_size
        self._room, self._keeps_field = room, room > 0
        self._encoded: dict[tuple[int, int], _Encoded] = {}
        self._field: FlowField | None = None
        self._lock = threading.Lock()

    def call(self) -> AbstractContextManager[object]:
        """What is entered around a call."""
        return self._flow.call()

    @whole_call
    def field(self, *, query_chunk: int | None = None, progress: Progress | None = None) -> FlowField:
        """The motion of every pixel, as a call of the pipeline gives it: float32 (H, W, 2)."""
        if self._field is None:
            field = as_field(self._full_field(self._dense(query_chunk, progress or silent)))
            if not self._keeps_field:
                return field
            self._field = field
        return as_field(self._field.copy())

    @overload
    def at(
        self, points: Array, *, interpolate: bool = False, mask: Literal[False] = False, query_chunk: int | None = None
    ) -> Floats: ...

    @overload
    def at(
        self, points: Array, *, interpolate: bool = False, mask: Literal[True], query_chunk: int | None = None
    ) -> tuple[Floats, NDArray[np.bool_]]: ...

    @whole_call
    def at(
        self, points: Array, *, interpolate: bool = False, mask: bool = False, query_chunk: int | None = None
    ) -> Floats | tuple[Floats, NDArray[np.bool_]]:
        """The motion at points, as `FlowPipeline.at` gives it."""
        flat = flat_points(points)
        inside = inside_frame(flat, *self._full_size)
        found = np.full((len(flat), 2), np.nan, np.float32)
        found[inside] = self._motion(flat[inside], interpolate, query_chunk)
        shape = np.shape(points)
        return (found.reshape(shape), inside.reshape(shape[:-1])) if mask else found.reshape(shape)

    def _motion(self, points: Doubles, interpolate: bool, query_chunk: int | None) -> Floats:
        """At points (K, 2) of the frame: (K, 2)."""
        if not interpolate:
            return self._at_pixels(np.rint(points)[:, ::-1].astype(np.int64), query_chunk)
        places, shares = neighbours(points, *self._full_size)
        needed, back = np.unique(places.reshape(-1, 2), axis=0, return_inverse=True)
        around = self._at_pixels(needed, query_chunk)[back.reshape(-1)].reshape(*shares.shape, 2)
        return np.asarray((around * shares[..., None]).sum(axis=1), np.float32)

    def _at_pixels(self, pixels: NDArray[np.int64], query_chunk: int | None) -> Floats:
        """At pixels (K, 2) as (row, column): from the field where there is one, else decoding only these."""
        if self._field is None and self._size == self._full_size:
            return self._decoded_at(pixels, query_chunk)
        if len(pixels) == 0:
            return np.zeros((0, 2), np.float32)
        found: Floats = self.field(query_chunk=query_chunk)[pixels[:, 0], pixels[:, 1]]
        return found

    def _decoded_at(self, places: NDArray[np.int64], query_chunk: int | None) -> Floats:
        tile_height, tile_width = self._flow.processor.tile
        weights = blend_weights(tile_height, tile_width)
        total, weight_sum = np.zeros((len(places), 2), np.float32), np.zeros(len(places), np.float32)
        asked: list[tuple[tuple[int, int], NDArray[np.intp], NDArray[np.int64]]] = []
        for tile in self._flow._tiles(self._first):
            local = places - tile  # (K, 2) as (row, column)
            inside = np.flatnonzero(((local >= 0) & (local < (tile_height, tile_width))).all(axis=1))
            if len(inside):
                asked.append((tile, inside, local[inside]))
        flows = self._flow.side_by_side(
            lambda each: self._flow._decode_pixels(*self._tile(*each[0]), each[2], query_chunk), asked
        )
        for (_, inside, local), flow in zip(asked, flows):
            weight = weights[local[:, 0], local[:, 1]]
            total[inside] += flow * weight[:, None]
            weight_sum[inside] += weight
        return total / weight_sum[:, None]

    def _dense(self, query_chunk: int | None, report: Progress) -> Floats:
        """The field of the frames as they went into the graphs."""
        weights = blend_weights(*self._flow.processor.tile)
        total = np.zeros((*self._first.shape[:2], 2), np.float32)
        weight_sum = np.zeros(self._first.shape[:2], np.float32)
        tiles, pixels = self._flow._tiles(self._first), pixel_grid(*self._flow.processor.tile)
        report(0, len(tiles))
        flows = self._flow.side_by_side(
            lambda place: self._flow._decode_pixels(*self._tile(*place), pixels, query_chunk), tiles
        )
        for done, ((top, left), tile) in enumerate(zip(tiles, flows), start=1):
            with self._flow.timing.stage("postprocess"):
                window = np.s_[top : top + weights.shape[0], left : left + weights.shape[1]]
                total[window] += tile.reshape(*weights.shape, 2) * weights[..., None]
                weight_sum[window] += weights
            report(done, len(tiles))
        with self._flow.timing.stage("postprocess"):
            return np.ascontiguousarray((total / weight_sum[..., None])[: self._size[0], : self._size[1]])

    def _full_field(self, field: Floats) -> Floats:
        """At the size of the frames that were given, in their pixels."""
        if self._size == self._full_size:
            return field
        with self._flow.timing.stage("postprocess"):
            ratio = (self._full_size[1] / self._size[1], self._full_size[0] / self._size[0])
            full: Floats = resize(field, self._full_size, _BILINEAR) * np.array(ratio, np.float32)
            return np.ascontiguousarray(full)

    def _tile(self, top: int, left: int) -> _Encoded:
        """Latents and features of a tile, kept where there is room."""
        kept = self._encoded.get((top, left))
        if kept is not None:
            return kept
        encoded = self._flow._encode_tile(self._first, self._second, top, left)
        needed = sum(4 * math.prod(tensor.shape) for tensor in encoded[:2])
        with self._lock:
            if needed <= self._room:
                self._room -= needed
                self._encoded[top, left] = encoded
        return encoded


def _share(scale: Any) -> float:
    if isinstance(scale, bool) or not isinstance(scale, (int, float, np.floating)) or not 0 < scale <= 1:
        raise InputError(f"scale is {scale!r}: give a share of the frames' size, more than 0 and at most 1, or 'tile'")
    return float(scale)
