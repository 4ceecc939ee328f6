"""Logits and boxes of a set of queries to objects in a picture. numpy alone.

Boxes are as DETR gives them: centre, width and height as shares of the model's input. What counts is what transformers'
`post_process_object_detection` says, of DETR for one label a query with a class for "no object", of Deformable DETR for labels
on their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import IntegrityError
from perceiver_runtime.processing.image import ImageProcessor

Floats = NDArray[np.float32]


class Found(NamedTuple):
    """Objects, the surest first: scores (K,), numbers of labels (K,), boxes (K, 4) as x0, y0, x1, y1."""

    scores: Floats
    labels: NDArray[np.int64]
    boxes: Floats


class Region(NamedTuple):
    """The part of a picture that the model sees, in its pixels; it may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float


def region_seen(processor: ImageProcessor, height: int, width: int) -> Region:
    """The part of a picture of this size that the processor makes the model's input of. Raises `IntegrityError`."""
    if processor.resize is not None:
        raise IntegrityError("the manifest resizes pictures before it crops them, which boxes cannot follow: export it again")
    if not all(processor.crop):
        return Region(0, 0, width, height)
    rows, columns = (int(size / crop * min(height, width)) for size, crop in zip(processor.size, processor.crop))
    return Region(_offset(width, columns), _offset(height, rows), columns, rows)


def _offset(own: int, wanted: int) -> int:
    """Where `crop_or_pad` begins: before the picture where it is smaller."""
    return (own - wanted) // 2 if own >= wanted else (wanted - own) // -2


def find(probabilities: Floats, boxes: Floats, region: Region, threshold: float, most: int, *, exclusive: bool) -> Found:
    """The objects whose score is above `threshold`, at most `most`.

    `probabilities` are (queries, labels), and where they are `exclusive` a query has one label, and the last is "no object".
    `boxes` are (queries, 4). Results are in the pixels that `region` is in.
    """
    if exclusive:
        labels = probabilities[:, :-1].argmax(axis=1)
        scores, queries = probabilities[np.arange(len(labels)), labels], np.arange(len(labels))
    else:
        queries, labels = (each.reshape(-1) for each in np.indices(probabilities.shape))
        scores = probabilities.reshape(-1)
    order = np.argsort(-scores, kind="stable")[:most]
    order = order[scores[order] > threshold]
    corners = to_corners(boxes[queries[order]])
    size, offset = (np.tile(pair, 2) for pair in ((region.width, region.height), (region.left, region.top)))
    return Found(scores[order], labels[order].astype(np.int64), (corners * size + offset).astype(np.float32))


def to_corners(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """(…, 4) centre x, centre y, width, height → x0, y0, x1, y1."""
    centre, half = boxes[..., :2].astype(np.float64), boxes[..., 2:].astype(np.float64) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def clipped(boxes: Floats, height: int, width: int) -> Floats:
    """(K, 4) corners, inside a picture of this size."""
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
