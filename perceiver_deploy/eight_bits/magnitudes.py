"""How large the numbers in a tensor are over many runs: the largest, and a histogram of the rest.

Bins are 1/16 of an octave wide, from 2^-24 to 2^40, so a percentile is right to 4.4 %. The largest is exact. Of a very large
tensor the histogram sees a million values, evenly spread; of these it knows no more than those say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PER_OCTAVE, _LOWEST, _HIGHEST = 16, -24, 40
_MOST = 1 << 20  # values of one tensor that are counted


class Magnitudes:
    """What was seen of a tensor."""

    def __init__(self) -> None:
        self.largest = 0.0
        self.rows = 0  # the most in one run
        self._counts = np.zeros((_HIGHEST - _LOWEST) * _PER_OCTAVE, np.int64)

    def add(self, array: NDArray[np.floating]) -> None:
        """Values (..., channels) of one run."""
        if not array.size:
            return
        self.rows = max(self.rows, array.size // array.shape[-1])
        self.largest = max(self.largest, float(np.abs(array).max()))
        values = np.abs(array.reshape(-1)[:: -(-array.size // _MOST) | 1])  # an odd step meets every channel
        with np.errstate(divide="ignore"):
            octaves = np.log2(values)
        places = np.clip((octaves - _LOWEST) * _PER_OCTAVE, 0, len(self._counts) - 1).astype(np.int64)
        self._counts += np.bincount(places, minlength=len(self._counts))

    def percentile(self, percent: float) -> float:
        """What `percent` of the values are below, or the largest if that is less."""
        reached = np.cumsum(self._counts) >= self._counts.sum() * percent / 100
        edge = float(2.0 ** (_LOWEST + (int(reached.argmax()) + 1) / _PER_OCTAVE))
        return min(edge, self.largest)
