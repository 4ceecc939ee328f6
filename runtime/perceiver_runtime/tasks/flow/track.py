"""Points followed from frame to frame, each step checked by the flow back (N. Sundaram, T. Brox, K. Keutzer, ECCV 2010)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing.points import Doubles, flat_points, inside_frame
from perceiver_runtime.tasks.flow.pair import EncodedPair, PreparedFrame, Scale
from perceiver_runtime.tasks.pipeline import Floats

if TYPE_CHECKING:
    from perceiver_runtime.tasks.flow.pipeline import FlowPipeline

_SHARE, _ALWAYS = 0.01, 0.5  # of the squared lengths, and squared pixels: the paper's, for how far apart the two may end


class Tracked(NamedTuple):
    """Points in one frame: positions float32 (K, 2) as (x, y), NaN where they are not valid; valid bool (K,)."""

    positions: Floats
    valid: NDArray[np.bool_]


def track(
    flow: FlowPipeline,
    frames: Iterable[Any],
    points: NDArray[Any],
    *,
    max_error: float | None,
    scale: Scale,
    query_chunk: int | None,
) -> Iterator[Tracked]:
    """Where points of the first frame are in every frame, that one among them.

    From each position p motion f leads to the next frame, and motion b from there back. A point stays valid while it is in the
    frame and |f + b| is at most `max_error` pixels, or by default |f + b|² at most 0.01 (|f|² + |b|²) + 0.5. Motion is
    interpolated between pixels. Where no point is valid any more, nothing is computed. Raises `InputError`.
    """
    start = flat_points(points)
    if max_error is not None and (isinstance(max_error, bool) or not 0 < max_error < math.inf):
        raise InputError(f"max_error is {max_error!r}: give pixels, more than 0")
    return _tracked(flow, frames, start, max_error, scale, query_chunk)


def _tracked(
    flow: FlowPipeline, frames: Iterable[Any], places: Doubles, max_error: float | None, scale: Scale, query_chunk: int | None
) -> Iterator[Tracked]:
    before: PreparedFrame | None = None
    valid = np.ones(len(places), np.bool_)
    for number, frame in enumerate(frames):
        after = flow.prepare(frame, f"frame {number}", scale)
        if before is None:
            valid = inside_frame(places, *after.full_size)
        elif valid.any():
            moved, kept = _step(flow, before, after, places[valid], max_error, query_chunk)
            places, still = places.copy(), valid.copy()
            places[valid], still[valid] = moved, kept
            valid = still
        positions = np.where(valid[:, None], places, np.nan).astype(np.float32)
        yield Tracked(positions, valid.copy())
        before = after


def _step(
    flow: FlowPipeline,
    before: PreparedFrame,
    after: PreparedFrame,
    places: Doubles,
    max_error: float | None,
    query_chunk: int | None,
) -> tuple[Doubles, NDArray[np.bool_]]:
    """Where valid points are next, and which still are."""
    there: Any = EncodedPair(flow, before, after, 0).at(places, interpolate=True, query_chunk=query_chunk)
    moved = places + there
    kept = inside_frame(moved, *after.full_size)
    back: Any = np.full_like(there, np.nan)
    if kept.any():
        pair = EncodedPair(flow, after, before, 0)
        back[kept] = pair.at(moved[kept], interpolate=True, query_chunk=query_chunk)
    apart = np.square(there + back).sum(axis=1)
    lengths = np.square(there).sum(axis=1) + np.square(back).sum(axis=1)
    limit = _SHARE * lengths + _ALWAYS if max_error is None else max_error**2
    return moved, kept & (apart <= limit)
