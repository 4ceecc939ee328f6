"""Covering an image with overlapping tiles of one size, and blending what was computed on each.

The tiles of a side are as few as the overlap allows and evenly spaced, so no tile is computed twice and none hangs over
the edge (the paper's evaluation of optical flow, arXiv 2107.14795, appendix H; DeepMind's notebook repeats tiles).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MIN_OVERLAP = 20  # pixels, as in DeepMind's notebook


def tile_origins(length: int, tile: int, *, min_overlap: int = MIN_OVERLAP) -> list[int]:
    """Where the tiles of one side begin: all within [0, length - tile], evenly spaced, distinct.

    >>> tile_origins(1024, 496)
    [0, 264, 528]
    """
    if length <= tile:
        return [0]
    count = math.ceil((length - min_overlap) / (tile - min_overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def tile_grid(height: int, width: int, tile: tuple[int, int], *, min_overlap: int = MIN_OVERLAP) -> list[tuple[int, int]]:
    """(top, left) of every tile of an image, row by row."""
    rows = tile_origins(height, tile[0], min_overlap=min_overlap)
    columns = tile_origins(width, tile[1], min_overlap=min_overlap)
    return [(top, left) for top in rows for left in columns]


def blend_weights(height: int, width: int) -> NDArray[np.float32]:
    """How much each pixel of a tile counts: its distance in pixels to the nearest edge, 1 at the edge. (height, width)."""
    y = np.minimum(np.arange(1, height + 1), np.arange(height, 0, -1))
    x = np.minimum(np.arange(1, width + 1), np.arange(width, 0, -1))
    return np.minimum(y[:, None], x[None, :]).astype(np.float32)
