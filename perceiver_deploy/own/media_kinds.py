"""Kinds of inputs for sound and video; text and images are in kinds.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perceiver_deploy.own.kinds import Image, Sizes
from perceiver_deploy.tasks.pictures import sample_frames
from perceiver_export.protocol import TensorInput
from perceiver_runtime import UsageError
from perceiver_runtime.processing.heads.clips import MAX_FRAMES, ClipProcessor
from perceiver_runtime.processing.heads.sounds import MAX_WINDOW, SoundProcessor
from perceiver_runtime.processing.sound import MAX_RATE, MIN_RATE
from perceiver_runtime.tasks.arrays.signature import BATCH, ItemInput


@dataclass(frozen=True)
class Audio:
    """A sound of any rate and length, which the runtime makes one channel at `rate` Hz, in windows of `samples`.

    The model gets float32 (B, samples) in [-1, 1]; with `channel` (B, samples, 1), as `AudioPreprocessor` takes it.
    """

    samples: int
    rate: int = 16_000
    channel: bool = False

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        if type(self.samples) is not int or not 1 <= self.samples <= MAX_WINDOW:
            raise UsageError(f"{name}: a window of {self.samples!r} samples: give 1 to {MAX_WINDOW}")
        if type(self.rate) is not int or not MIN_RATE <= self.rate <= MAX_RATE:
            raise UsageError(f"{name}: the rate is {self.rate!r}: give whole Hz from {MIN_RATE} to {MAX_RATE}")

    def tensors(self, name: str) -> tuple[TensorInput, ...]:
        """The samples."""
        return (TensorInput(name, name, (BATCH, self.samples, *([1] if self.channel else []))),)

    def sizes(self) -> Sizes:
        """None: one size."""
        return {}

    def runtime(self, name: str) -> ItemInput:
        """Through the sound processor."""
        constants = SoundProcessor(self.rate, self.samples, self.channel).to_json()
        return ItemInput(name, "audio", graph={"audio": name}, constants=constants)

    def value(self, number: int, sizes: Mapping[str, int]) -> NDArray[np.float32]:
        """A falling tone in noise, another one for other items."""
        time = np.arange(self.samples) / self.rate
        tone = np.sin(2 * np.pi * (300 + 170 * number) * time * (1 - 0.2 * time / time[-1] if len(time) > 1 else 1))
        noise = np.random.default_rng(number).standard_normal(self.samples)
        return (0.4 * tone + 0.1 * noise).astype(np.float32)


@dataclass(frozen=True)
class Video:
    """The frames of a clip, evenly spaced from its first to its last: float32 (B, frames, channels, height, width).

    Each frame goes through the processor of an `Image` of the same `size`, `mean`, `std` and `crop`.
    """

    frames: int
    size: tuple[int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: tuple[int, int] = (0, 0)

    @property
    def image(self) -> Image:
        """A frame."""
        return Image(self.size, self.mean, self.std, self.crop)

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        self.image.check(name)
        if type(self.frames) is not int or not 1 <= self.frames <= MAX_FRAMES:
            raise UsageError(f"{name}: a clip of {self.frames!r} frames: give 1 to {MAX_FRAMES}")

    def tensors(self, name: str) -> tuple[TensorInput, ...]:
        """The pixels."""
        return (TensorInput(name, name, (BATCH, self.frames, len(self.mean), *self.size)),)

    def sizes(self) -> Sizes:
        """None: one size."""
        return {}

    def runtime(self, name: str) -> ItemInput:
        """Through the clip processor."""
        constants = ClipProcessor(self.frames, self.image.processor).to_json()
        return ItemInput(name, "video", graph={"pixel_values": name}, constants=constants)

    def value(self, number: int, sizes: Mapping[str, int]) -> NDArray[np.uint8]:
        """A photograph that moves, another way for other items."""
        first, second = sample_frames(60, 90)
        picture = (first, 255 - second, second[::-1])[number % 3]
        return np.stack([np.roll(picture, (3 + number) * step, axis=1) for step in range(self.frames)])
