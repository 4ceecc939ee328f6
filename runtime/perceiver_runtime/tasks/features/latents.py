"""The answer of `FeaturesPipeline`: an array with a short repr, and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array, ArrayResult
from perceiver_runtime.common.plain import plain


class Latents(ArrayResult):
    """Latents, float32 (N, D) of an input, (B, N, D) of several: `latents[0]` is then one's."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return as_latents(found) if self.ndim == 3 and isinstance(key, (int, np.integer)) else found

    def to_dict(self) -> dict[str, Any]:
        """`latents`, as nested lists."""
        return {"latents": plain(np.asarray(self))}

    def __repr__(self) -> str:
        sizes, values = "x".join(map(str, self.shape)), np.asarray(self)
        return f"Latents({sizes}, mean {values.mean():.3g}, standard deviation {values.std():.3g})" if self.size else sizes


def as_latents(array: Array) -> Latents:
    """An array as latents, not copied."""
    return array.view(Latents)
