"""Queries in chunks of one size, so that an engine sees one shape and a recorded CUDA graph fits every chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator


def equal_chunks(count: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Chunks of `count` rows, as few as hold `most` rows at most, all of one size: start, stop, and the first row that is new.

    The last one begins early where the size does not divide `count`: what is before its first new row was decoded already.

    >>> list(equal_chunks(10, 4))
    [(0, 4, 0), (4, 8, 4), (6, 10, 8)]
    """
    if count == 0:
        return
    size = math.ceil(count / math.ceil(count / most))
    for new in range(0, count, size):
        stop = min(new + size, count)
        yield stop - size, stop, new
