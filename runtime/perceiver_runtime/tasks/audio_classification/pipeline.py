"""Audio classification on a device: sounds in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.plain import html_table
from perceiver_runtime.processing.heads.sounds import SoundProcessor, SoundWindow
from perceiver_runtime.tasks.calls import whole_call
from perceiver_runtime.tasks.kinds.audio import AUDIO
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.one_pass import OnePassPipeline
from perceiver_runtime.tasks.pipeline import Floats, RuntimeOptions

Audio = Any  # what `sound_of` takes, but None


@dataclass(frozen=True)
class SoundPart:
    """The labels of a window of a sound, best first; `start` and `end` in seconds."""

    start: float
    end: float
    labels: LabelScores

    def to_dict(self) -> dict[str, Any]:
        """`start`, `end` and `labels`."""
        return {"start": self.start, "end": self.end, **self.labels.to_dict()}


@dataclass(frozen=True, repr=False)
class SoundLabels:
    """The labels of a sound, best first, and those of each of its windows."""

    labels: LabelScores
    windows: list[SoundPart]

    def to_dict(self) -> dict[str, Any]:
        """`labels`, and `windows` with start, end and labels."""
        return {**self.labels.to_dict(), "windows": [part.to_dict() for part in self.windows]}

    def __repr__(self) -> str:
        best, count = self.labels[0], len(self.windows)
        return f"SoundLabels({best.label!r} {best.probability:.3g}, {count} window{'s' if count > 1 else ''})"

    def _repr_html_(self) -> str:
        best = [(f"{part.start:.2f} to {part.end:.2f} s", part.labels[0]) for part in self.windows]
        rows = [(place, each.label, each.probability) for place, each in best]
        return self.labels._repr_html_() + (html_table(("window", "label", "probability"), rows) if len(rows) > 1 else "")


class AudioClassificationPipeline(OnePassPipeline):
    """Labels of sounds.

    >>> classify = perceiver_runtime.load("commands")
    >>> classify("stop.wav", top_k=1)               # or samples, with sampling_rate=
    [LabelScore(label='stop', probability=0.97)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = SoundProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    def __call__(self, sounds: Audio, *, top_k: int = 5, sampling_rate: float | None = None, hop: float | None = None) -> Any:
        """The `top_k` best labels of a sound, best first, or of each of a list or a generator.

        A sound is a path of a WAV or a video file or of `.npy` samples, the bytes of a WAV file, a file object, what
        `read_wav` and `read_sound` give, or samples (S,) or (S, channels) at `sampling_rate` Hz (default: the bundle's); floats
        in [-1, 1], int16, int32 or uint8. It is made one channel and resampled. A sound longer than the model's window is
        taken in windows, one every `hop` seconds (default: the window's length), the last at its end: probabilities are
        the mean over them. A shorter one has silence after it. Raises `InputError`.
        """
        items, many = AUDIO.items(sounds)
        labels = [found.labels for found in self._details(items, top_k, sampling_rate, hop)]
        return labels if many else labels[0]

    @whole_call
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
            parts = [self._named_windows(sound, rate, hop, place, len(sounds)) for place, sound in enumerate(sounds, 1)]
        logits = self._logits(parts)
        with self.timing.stage("postprocess"):
            return [
                SoundLabels(
                    self._best(self.labels.probabilities(rows).mean(axis=0), top_k),
                    [SoundPart(part.start, part.end, self.labels.scores(row, top_k)) for part, row in zip(own, rows)],
                )
                for own, rows in zip(parts, logits)
            ]

    def _named_windows(self, sound: Audio, rate: float | None, hop: float | None, place: int, count: int) -> list[SoundWindow]:
        try:
            return self._windows(sound, rate, hop)
        except InputError as error:
            raise error if count == 1 else InputError(f"sound {place} of {count}: {error}") from error

    def _best(self, probabilities: Floats, top_k: int) -> LabelScores:
        return self.labels.ranked(probabilities, top_k)

    def _windows(self, sound: Audio, rate: float | None, hop: float | None) -> list[SoundWindow]:
        if hop is not None and not hop > 0:
            raise InputError(f"windows every {hop} s: give more than 0")
        step = None if hop is None else max(1, round(hop * self.processor.sampling_rate))
        return self.processor.windows(self.processor(AUDIO.read(sound), rate), step)

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
