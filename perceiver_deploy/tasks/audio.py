"""Exporting audio classification."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.recipe import Case, ClassificationRecipe, Inputs, shape_text, tensors
from perceiver_io import AudioClassificationConfig
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.files.wav import SOUNDS, read_wav
from perceiver_runtime.processing.heads.sounds import SoundProcessor
from perceiver_runtime.tasks.known_answer import Sample


class AudioRecipe(ClassificationRecipe):
    """A window of sound to labels."""

    sample_files = "sounds (.wav)"
    usage = "sound.wav"
    config: AudioClassificationConfig

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""
        return {"B": Range(1, 64)}

    @property
    def sounds(self) -> SoundProcessor:
        """How sounds become windows."""
        return SoundProcessor(self.config.audio.sampling_rate, self.config.audio.samples)

    def processor(self) -> dict[str, Any]:
        """The constants that perceiver_runtime.processing.heads.sounds.SoundProcessor reads."""
        return self.sounds.to_json() | {"problem": self.config.problem}

    def cases(self) -> Iterator[Case]:
        """A rising and a falling tone in noise, each alone; in a batch of three a quiet one, a loud one and silence."""
        alone = tuple({"audio": sample_sound(self.config.audio.samples, self.sounds.sampling_rate, each)} for each in (0, 1))
        yield Case(f"{shape_text(alone[0])}, twice", alone)
        windows = [alone[0]["audio"] * np.float32(0.01), alone[1]["audio"], np.zeros_like(alone[0]["audio"])]
        batch = {"audio": np.concatenate(windows)}
        yield Case(shape_text(batch), (batch,))

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Each window of the .wav files, as the runtime would cut them."""
        sounds = [self.sounds(read_wav(file)) for file in samples.files(folder, SOUNDS)]
        windows = [window.samples for sound in sounds for window in self.sounds.windows(sound)]
        return [{"audio": window[None]} for window in self.first(windows, folder)]

    def encode(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """torch's latents (B, N, D)."""
        latents: torch.Tensor = model.encode(tensors(inputs)["audio"])
        return latents

    def sample_audio(self) -> NDArray[np.float32]:
        """The checkpoint's own sample, of any length, else a tone."""
        file = self.sample_file("sound.wav")
        if file:
            return self.sounds(read_wav(file))
        tone: NDArray[np.float32] = sample_sound(self.config.audio.samples, self.sounds.sampling_rate, 0)[0]
        return tone

    def sample(self, model: Any) -> Sample:
        """A sound, and torch's answer to its first window."""
        audio = self.sample_audio()
        first = self.sounds.windows(audio)[0].samples[None]
        return Sample({"audio": audio}, {"logits": self.reference(model, {"audio": first})["logits"][0]})


def sample_sound(count: int, rate: int, number: int) -> NDArray[np.float32]:
    """A tone that rises (`number` 0) or falls, with overtones, in noise: (1, count)."""
    place = np.linspace(0, 1, count)
    tone = 250 * 2 ** (1.5 * (place if number == 0 else 1 - place))  # Hz
    phase = 2 * np.pi * np.cumsum(tone) / rate
    wave = sum(np.sin(overtone * phase) / overtone for overtone in range(1, 5)) * np.sin(np.pi * place) ** 2
    noise = np.random.default_rng(number).standard_normal(count)
    return (0.25 * np.asarray(wave) + 0.01 * noise).astype(np.float32)[None]
