"""Sounds of any length to windows of a model's own. numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import KINDS, PROCESSOR, check_fields, record
from perceiver_runtime.processing.sound import MAX_RATE, MIN_RATE, checked_rate, mono, resample

Floats = NDArray[np.float32]
MAX_WINDOW = 1 << 24  # samples


class SoundWindow(NamedTuple):
    """A part of a sound: where it begins and ends in it, in seconds, and its samples (S,)."""

    start: float
    end: float
    samples: Floats


@dataclass(frozen=True)
class SoundProcessor:
    """The constants of an audio bundle's manifest: samples at `sampling_rate` Hz, `samples` of them at once.

    With `channel` the model takes (S, 1), else (S,).
    """

    sampling_rate: int
    samples: int
    channel: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SoundProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        found = record(cls, data, PROCESSOR, ignored=KINDS)
        rate = MIN_RATE <= found.sampling_rate <= MAX_RATE
        check_fields(PROCESSOR, sampling_rate=rate, samples=1 <= found.samples <= MAX_WINDOW)
        return found

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"sampling_rate": self.sampling_rate, "samples": self.samples, "channel": self.channel}

    @property
    def seconds(self) -> float:
        """Of a window."""
        return self.samples / self.sampling_rate

    def __call__(self, audio: Any, rate: float | None = None) -> Floats:
        """Samples (S,) or (S, channels) at `rate` Hz (default: the model's), or a pair of both → float32 (S,) at the model's.

        Raises `InputError`.
        """
        if isinstance(audio, tuple):
            if len(audio) != 2 or np.ndim(audio[1]) != 0:
                raise InputError("the audio is a tuple: give samples, or a pair of samples and their rate such as read_wav's")
            if rate is not None and rate != audio[1]:
                raise InputError(f"the audio has {audio[1]} Hz, sampling_rate says {rate}: leave out sampling_rate")
            audio, rate = audio
        given = checked_rate(self.sampling_rate if rate is None else rate)
        return resample(mono(audio), given, self.sampling_rate)

    def windows(self, samples: Floats, hop: int | None = None) -> list[SoundWindow]:
        """Windows of the model's length, one every `hop` samples (default: the window's length), the last at the sound's end.

        A sound shorter than a window has silence after it.
        """
        hop = self.samples if hop is None else whole_number("hop", hop, InputError)
        if hop > self.samples:
            raise InputError(f"windows every {hop} samples leave some out: a window has {self.samples}, give that or less")
        last = len(samples) - self.samples
        starts = [*range(0, last, hop), last] if last > 0 else [0]
        found = []
        for start in starts:
            part = samples[start : start + self.samples]
            end = start + len(part)
            part = np.pad(part, (0, self.samples - len(part)))
            found.append(SoundWindow(start / self.sampling_rate, end / self.sampling_rate, part))
        return found

    def batch(self, windows: list[Floats]) -> Floats:
        """Windows (S,) as the model takes them: (B, S), or (B, S, 1)."""
        stacked = np.stack(windows)
        return stacked[..., None] if self.channel else stacked
