"""The two photographs that come with this package, to verify graphs on."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]


def sample_frames(height: int, width: int) -> tuple[Frames, Frames]:
    """Both at any size: uint8 (height, width, 3) each."""
    folder = resources.files("perceiver_deploy") / "samples"
    frames = []
    for name in ("frame1.png", "frame2.png"):
        with (folder / name).open("rb") as file, Image.open(file) as image:
            frames.append(np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)))
    return frames[0], frames[1]


def sample_clip(frames: int, height: int, width: int, *, reverse: bool = False) -> Frames:
    """A photograph sliding past, from left to right or back: uint8 (frames, height, width, 3)."""
    picture = sample_frames(height + frames, width + frames)[int(reverse)]
    steps = range(frames)[:: -1 if reverse else 1]
    return np.stack([picture[step : step + height, step : step + width] for step in steps])
