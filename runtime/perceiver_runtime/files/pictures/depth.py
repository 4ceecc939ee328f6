"""Pictures of more than 8 bits a channel as 8 bits: which value is black and which is white."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def value_range(images: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """What becomes black and what white in one-channel pictures of more than 8 bits, over all of them.

    Whole numbers: 0, and the largest of the fewest bits, 8 to 32, that hold every value (4095 for a 12-bit camera's values in
    a 16-bit file, 65535 where all bits are used). Floats in [0, 1]: 0 and 1. Others, and whole numbers below 0: the least
    and the greatest value.
    """
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    if any(np.issubdtype(image.dtype, np.floating) for image in images):
        return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    return (0.0, float((1 << max(8, int(high).bit_length())) - 1)) if low >= 0 else (low, high)


def scaled(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """(H, W) → uint8 (H, W, 3), `low` black and `high` white."""
    share = (image.astype(np.float64) - low) / max(high - low, 1e-300)
    return np.repeat(np.rint(255 * share).astype(np.uint8)[..., None], 3, axis=2)
