"""Sample inputs, written beside a checkpoint: `perceiver run BUNDLE --sample` runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.files.images import write_image
from perceiver_runtime.files.videos import write_video
from perceiver_runtime.files.wav import write_wav


def _folder(checkpoint: Path) -> Path:
    folder = checkpoint / "sample"
    folder.mkdir(exist_ok=True)
    return folder


def write_text_sample(checkpoint: Path, text: str) -> None:
    """text.txt."""
    (_folder(checkpoint) / "text.txt").write_text(text + "\n", encoding="utf-8")


def write_image_sample(checkpoint: Path, image: NDArray[np.uint8]) -> None:
    """image.png."""
    write_image(_folder(checkpoint) / "image.png", image)


def write_sound_sample(checkpoint: Path, audio: NDArray[np.float32], rate: int) -> None:
    """sound.wav."""
    write_wav(_folder(checkpoint) / "sound.wav", audio, rate)


def write_clip_sample(checkpoint: Path, video: NDArray[np.uint8], audio: NDArray[np.float32], rate: int) -> None:
    """clip.gif and clip.wav."""
    write_video(_folder(checkpoint) / "clip.gif", video)
    write_wav(_folder(checkpoint) / "clip.wav", audio, rate)
