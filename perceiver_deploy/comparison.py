"""How far an answer is from the reference, and whether that is near enough.

Errors are measured against the reference's own spread over space, not its size: a field that is almost constant would
otherwise pass whatever the graph computes. A little is allowed for the rounding of float32 at the reference's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPREAD_SHARE = 2e-3  # largest error allowed, as a share of the spread ...
ROUNDING = 2e-5  # ... plus this share of the largest value


@dataclass(frozen=True)
class Comparison:
    """A reference flow field against another answer, both (B, O, 2) in pixels."""

    max_error_px: float
    mean_error_px: float  # the mean end-point error
    spread_px: float  # standard deviation of the reference over O, mean over the rest
    cosine: float
    not_finite: int
    allowed_px: float

    @classmethod
    def of(cls, reference: NDArray[Any], found: NDArray[Any]) -> Comparison:
        """Compare. An empty or misshapen answer is infinitely far off."""
        if reference.size == 0 or reference.shape != found.shape:
            return cls(float("inf"), float("inf"), 0.0, 0.0, 0, 0.0)
        error = np.abs(reference - found)
        spread = float(reference.std(axis=1).mean())
        norms = float(np.linalg.norm(reference) * np.linalg.norm(found))
        return cls(
            max_error_px=float(error.max()),
            mean_error_px=float(np.linalg.norm(reference - found, axis=-1).mean()),
            spread_px=spread,
            cosine=float((reference.astype(np.float64) * found).sum() / norms) if norms else 0.0,
            not_finite=int((~np.isfinite(found)).sum()),
            allowed_px=SPREAD_SHARE * spread + ROUNDING * float(np.abs(reference).max()),
        )

    @property
    def passes(self) -> bool:
        """Within the tolerance; NaN never is."""
        return self.not_finite == 0 and self.max_error_px <= self.allowed_px
