"""Frames of any number and size to a model's clip. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import PROCESSOR, check_fields
from perceiver_runtime.processing.image import ImageProcessor

Floats = NDArray[np.float32]
MAX_FRAMES = 1024


@dataclass(frozen=True)
class ClipProcessor:
    """The constants of a video bundle's manifest: `frames` of a clip, each through the image processor."""

    frames: int
    image: ImageProcessor

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ClipProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        frames = data.get("frames")
        check_fields(PROCESSOR, frames=type(frames) is int and 1 <= frames <= MAX_FRAMES)
        assert isinstance(frames, int)
        return cls(frames, ImageProcessor.from_json({name: value for name, value in data.items() if name != "frames"}))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"frames": self.frames, **self.image.to_json()}

    def __call__(self, clip: NDArray[Any] | Sequence[NDArray[Any]], name: str = "the clip") -> Floats:
        """Frames (T, H, W, 3), or (T, H, W) for grey, uint8 or float in [0, 1] → float32 (frames, channels, height, width).

        Of more frames than the model takes, evenly spaced ones from the first to the last are taken, as transformers' video
        classification does. Fewer raise `InputError`.
        """
        still = isinstance(clip, np.ndarray) and clip.ndim == 3 and clip.shape[2] in (1, 3, 4)
        frames = isinstance(clip, (list, tuple)) or (isinstance(clip, np.ndarray) and clip.ndim in (3, 4))
        if still or not frames:
            found = clip.shape if isinstance(clip, np.ndarray) else type(clip).__name__
            raise InputError(f"{name} is {found}, expected frames (T, H, W, 3), or (T, H, W) for grey")
        if len(clip) < self.frames:
            raise InputError(f"{name} has {len(clip)} frames, the model takes {self.frames}: give as many or more")
        chosen = np.linspace(0, len(clip) - 1, self.frames).astype(np.int64)
        return np.stack([self.image(clip[place], f"frame {place} of {name}") for place in chosen])
