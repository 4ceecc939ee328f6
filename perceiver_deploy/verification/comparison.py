"""How far an answer is from the reference, and whether that is near enough.

Errors are measured against the reference's own spread over what differs (pixels, masked bytes, inputs), not its size: an
answer that is almost constant would otherwise pass whatever the graph computes. A little is allowed for rounding at the
reference's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tolerance(NamedTuple):
    """The largest error allowed: a share of the spread, plus a share of the largest value."""

    spread_share: float
    rounding: float


TOLERANCES = {
    "fp32": Tolerance(2e-3, 2e-5),
    "fp16": Tolerance(5e-2, 5e-3),
    "bf16": Tolerance(1.0, 2e-2),
    "int8": Tolerance(5e-1, 2e-2),
    "fp8": Tolerance(5e-1, 2e-2),
}


@dataclass(frozen=True)
class Comparison:
    """A reference against another answer, both (what differs, channels)."""

    max_error: float
    mean_error: float  # of the rows' lengths: for flow, the mean end-point error
    spread: float  # standard deviation of the reference over its rows, mean over channels
    cosine: float
    not_finite: int
    allowed: float

    @classmethod
    def of(
        cls, reference: NDArray[Any], found: NDArray[Any], tolerance: Tolerance, *, spread: float | None = None
    ) -> Comparison:
        """Compare, by the reference's own spread unless another is given. A misshapen or empty answer is infinitely off."""
        if reference.size == 0 or reference.shape != found.shape:
            return cls(float("inf"), float("inf"), 0.0, 0.0, 0, 0.0)
        if spread is None:
            spread = float(reference.std(axis=0).mean())
        norms = float(np.linalg.norm(reference) * np.linalg.norm(found))
        return cls(
            max_error=float(np.abs(reference - found).max()),
            mean_error=float(np.linalg.norm(reference - found, axis=-1).mean()),
            spread=spread,
            cosine=float((reference.astype(np.float64) * found).sum() / norms) if norms else 0.0,
            not_finite=int((~np.isfinite(found)).sum()),
            allowed=tolerance.spread_share * spread + tolerance.rounding * float(np.abs(reference).max()),
        )

    @property
    def passes(self) -> bool:
        """Within the tolerance; NaN never is."""
        return self.not_finite == 0 and self.max_error <= self.allowed
