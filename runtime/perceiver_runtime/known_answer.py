"""The known answer in a bundle: two small frames and the reference model's motion at some of their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import IntegrityError, VerificationError
from perceiver_runtime.flow import FlowPipeline

FILE = "sample.npz"


@dataclass(frozen=True)
class FlowSample:
    """frame1, frame2 uint8 (H, W, 3); points int64 (K, 2) as (x, y); flow float32 (K, 2) in pixels, from torch."""

    frame1: NDArray[np.uint8]
    frame2: NDArray[np.uint8]
    points: NDArray[np.int64]
    flow: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> FlowSample:
        """Read `sample.npz`. Raises `IntegrityError`."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in ("frame1", "frame2", "points", "flow")})
        except Exception as error:
            raise IntegrityError(f"{path} is no known answer ({error!r}): export the bundle again") from error

    def write(self, path: Path) -> None:
        """Write `sample.npz`."""
        np.savez_compressed(path, frame1=self.frame1, frame2=self.frame2, points=self.points, flow=self.flow)


def check_known_answer(pipeline: FlowPipeline, sample: FlowSample, tolerance: float) -> dict[str, Any]:
    """Compare the pipeline with the known answer.

    Returns the figures, the answer's own spread over the points among them; raises `VerificationError` if the largest error
    exceeds `tolerance`, in pixels.
    """
    found = pipeline.known_answer(sample.frame1, sample.frame2, sample.points)
    error = np.abs(found - sample.flow)
    spread = float(sample.flow.std(axis=0).mean())
    figures = {
        "points": len(sample.points),
        "max_error_px": float(error.max()),
        "mean_error_px": float(error.mean()),
        "spread_px": spread,
        "tolerance_px": tolerance,
        "provider": pipeline.provider,
    }
    if not error.max() <= tolerance:
        raise VerificationError(
            f"the known answer is off by {error.max():.3g} px at most, {tolerance:.3g} px are allowed: the bundle or this "
            "machine's ONNX Runtime is not right; export the bundle again, or try another onnxruntime version"
        )
    return figures
