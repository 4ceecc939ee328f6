"""Audio classification on a device: sounds in, labels with probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.wav import Sound
from perceiver_runtime.processing.heads.sounds import SoundProcessor, SoundWindow
from perceiver_runtime.tasks.labels import Labels, LabelScore
from perceiver_runtime.tasks.one_pass import OnePassPipeline
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions

Audio = NDArray[Any] | Sound


@dataclass(frozen=True)
class SoundPart:
    """The labels of a window of a sound, best first; `start` and `end` in seconds."""

    start: float
    end: float
    labels: list[LabelScore]


@dataclass(frozen=True)
class SoundLabels:
    """The labels of a sound, best first, and those of each of its windows."""

    labels: list[LabelScore]
    windows: list[SoundPart]

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return dataclasses.asdict(self)


class AudioClassificationPipeline(OnePassPipeline):
    """Labels of sounds.

    >>> classify = perceiver_runtime.load("commands")
    >>> classify(perceiver_runtime.read_wav("stop.wav"), top_k=1)
    [LabelScore(label='stop', probability=0.97)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = SoundProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(
        self, sounds: Audio, *, top_k: int = 5, sampling_rate: float | None = None, hop: float | None = None
    ) -> list[LabelScore]: ...

    @overload
    def __call__(
        self, sounds: list[Audio], *, top_k: int = 5, sampling_rate: float | None = None, hop: float | None = None
    ) -> list[list[LabelScore]]: ...

    def __call__(
        self, sounds: Audio | list[Audio], *, top_k: int = 5, sampling_rate: float | None = None, hop: float | None = None
    ) -> list[LabelScore] | list[list[LabelScore]]:
        """The `top_k` best labels of a sound, or of each of a list, best first.

        A sound is what `read_wav` gives, or samples (S,) or (S, channels) at `sampling_rate` Hz (default: the bundle's); floats
        in [-1, 1], int16, int32 or uint8. It is made one channel and resampled. A sound longer than the model's window is
        taken in windows, one every `hop` seconds (default: the window's length), the last at its end: probabilities are
        the mean over them. A shorter one has silence after it. Raises `InputError`.
        """
        if not isinstance(sounds, list):
            return self.details(sounds, top_k=top_k, sampling_rate=sampling_rate, hop=hop).labels
        return [found.labels for found in self._details(sounds, top_k, sampling_rate, hop)]

    def details(
        self, sound: Audio, *, top_k: int = 5, sampling_rate: float | None = None, hop: float | None = None
    ) -> SoundLabels:
        """The same of one sound, and the labels of each window, with where it begins and ends."""
        return self._details([sound], top_k, sampling_rate, hop)[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `audio`, at the bundle's rate; output `logits` (labels,) of its first window."""
        return {"logits": self._logits([self._windows(inputs["audio"], None, None)])[0][0]}

    def _details(self, sounds: Sequence[Audio], top_k: int, rate: float | None, hop: float | None) -> list[SoundLabels]:
        if not sounds:
            raise InputError("the list of sounds is empty: give at least one")
        with self.timing.stage("preprocess"):
            parts = [self._windows(sound, rate, hop) for sound in sounds]
        logits = self._logits(parts)
        with self.timing.stage("postprocess"):
            return [
                SoundLabels(
                    self._best(self.labels.probabilities(rows).mean(axis=0), top_k),
                    [SoundPart(part.start, part.end, self.labels.scores(row, top_k)) for part, row in zip(own, rows)],
                )
                for own, rows in zip(parts, logits)
            ]

    def _best(self, probabilities: Floats, top_k: int) -> list[LabelScore]:
        return dataclasses.replace(self.labels, problem_type="regression").scores(probabilities, top_k)  # as they are

    def _windows(self, sound: Audio, rate: float | None, hop: float | None) -> list[SoundWindow]:
        if hop is not None and not hop > 0:
            raise InputError(f"windows every {hop} s: give more than 0")
        step = None if hop is None else max(1, round(hop * self.processor.sampling_rate))
        return self.processor.windows(self.processor(sound, rate), step)

    def _logits(self, parts: Sequence[Sequence[SoundWindow]]) -> list[Floats]:
        """Of each sound, (windows, labels)."""
        flat = [part.samples for own in parts for part in own]
        rows = np.concatenate([self._batch(batch) for batch in self.batches(flat)])
        ends = np.cumsum([len(own) for own in parts])
        return np.split(rows, ends[:-1])

    def _batch(self, windows: Sequence[Floats]) -> Floats:
        with self.timing.stage("preprocess"):
            audio = self.processor.batch(list(windows))
        return self.answer({"audio": audio}, logits=(len(windows), len(self.labels.names)))["logits"]
