"""Parts of texts that are longer than a model takes: windows that overlap, and what of each counts. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

_WIDEST = 4  # bytes of a character


class Window(NamedTuple):
    """Bytes from `start` to before `stop`."""

    start: int
    stop: int


def windows(content: bytes, room: int, overlap: int | None = None) -> list[Window]:
    """Windows of at most `room` bytes over a UTF-8 text, neighbours sharing about `overlap` (default: a quarter of `room`).

    They begin and end between characters, where `room` has space for some. Raises `InputError`.
    """
    overlap = room // 4 if overlap is None else overlap
    if type(overlap) is not int or not 0 <= overlap < room - _WIDEST * (room > 2 * _WIDEST):
        raise InputError(f"the overlap is {overlap}: give bytes from 0 to {max(0, room - 1 - _WIDEST)}")
    found = [Window(0, _back(content, min(room, len(content)), 0, room))]
    while found[-1].stop < len(content):
        last = found[-1]
        start = max(last.start + 1, _back(content, last.stop - overlap, last.start + 1, room))
        found.append(Window(start, _back(content, min(start + room, len(content)), max(start, last.stop), room)))
    return found


def _back(content: bytes, place: int, least: int, room: int) -> int:
    """The next beginning of a character at or before `place`, if that is after `least`."""
    if room <= 2 * _WIDEST:
        return place
    for earlier in range(place, max(place - _WIDEST, least), -1):
        if earlier >= len(content) or content[earlier] & 0xC0 != 0x80:
            return earlier
    return place


def most_context(length: int, parts: Sequence[Window]) -> NDArray[np.int64]:
    """For each byte the number of the window that shows most of the text on both its sides: (length,)."""
    best, chosen = np.full(length, -1), np.zeros(length, np.int64)
    for number, (start, stop) in enumerate(parts):
        places = np.arange(start, stop)
        before = places - start if start else np.full(len(places), length)
        after = stop - 1 - places if stop < length else np.full(len(places), length)
        context = np.minimum(before, after)
        better = context > best[start:stop]
        best[start:stop] = np.where(better, context, best[start:stop])
        chosen[start:stop] = np.where(better, number, chosen[start:stop])
    return chosen
