"""Clips as users give them to the multimodal graphs' inputs, and where their outputs are. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.amounts import memory_bytes, whole_number
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.records import KINDS, PROCESSOR, check_fields, record
from perceiver_runtime.files.clips import sound_of
from perceiver_runtime.files.images import Picture
from perceiver_runtime.processing.flow import MAX_CHUNK
from perceiver_runtime.processing.image import MAX_SIDE, center_crop, checked_image, with_channels
from perceiver_runtime.processing.resize import resize
from perceiver_runtime.processing.sound import MAX_RATE, clip_audio

Floats = NDArray[np.float32]
Clip = Any  # what `read_clip` takes
Audio = Any  # what `sound_of` takes
MAX_FRAMES, MAX_SAMPLES = 1024, 1 << 24


@dataclass(frozen=True)
class MultimodalProcessor:
    """The constants of a multimodal bundle's manifest, under `processor`."""

    frames: int
    frame_size: tuple[int, int]  # height, width
    audio_samples: int  # of the whole clip
    samples_per_patch: int
    sampling_rate: int  # Hz
    query_chunk: int  # queries decoded at once, unless the caller says otherwise
    query_bytes: int  # about how much memory decoding one query takes

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MultimodalProcessor:
        """Raises `IntegrityError` where the manifest's values make no sense."""
        found = record(cls, data, PROCESSOR, ignored=KINDS)
        whole = found.samples_per_patch > 0 and found.audio_samples % found.samples_per_patch == 0
        check_fields(
            PROCESSOR,
            frames=1 <= found.frames <= MAX_FRAMES,
            frame_size=all(1 <= side <= MAX_SIDE for side in found.frame_size),
            audio_samples=1 <= found.audio_samples <= MAX_SAMPLES,
            samples_per_patch=whole,
            sampling_rate=1 <= found.sampling_rate <= MAX_RATE,
            query_chunk=1 <= found.query_chunk <= MAX_CHUNK,
            query_bytes=found.query_bytes >= 1,
        )
        return found

    @property
    def patches(self) -> int:
        """Runs of samples in a clip."""
        return self.audio_samples // self.samples_per_patch

    def video(self, frames: NDArray[Any] | Sequence[NDArray[Any]]) -> Floats:
        """Frames (T, H, W, 3), uint8 or float in [0, 1], of any size → (1, T, 3, height, width) in [0, 1].

        The largest centre part of the model's proportions is resized to its size. Raises `InputError`.
        """
        still = isinstance(frames, np.ndarray) and frames.ndim == 3 and frames.shape[2] in (1, 3, 4)
        if still or (isinstance(frames, np.ndarray) and frames.ndim not in (3, 4)):
            raise InputError(f"the clip has shape {np.shape(frames)}, expected (T, H, W, 3), or (T, H, W) for grey")
        if len(frames) != self.frames:
            raise InputError(f"the clip has {len(frames)} frames, the model takes exactly {self.frames}: choose {self.frames}")
        pictures = [self._frame(frame, f"frame {number}") for number, frame in enumerate(frames)]
        return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)[None])

    def _frame(self, frame: Picture, name: str) -> Floats:
        image = with_channels(checked_image(frame, name), 3)
        height, width = self.frame_size
        fraction = min(image.shape[0] / height, image.shape[1] / width) / min(image.shape[:2])
        resized = resize(center_crop(image, (height * fraction, width * fraction), name), self.frame_size)
        return resized.astype(np.float32) / np.float32(255) if resized.dtype == np.uint8 else resized

    def audio(self, audio: Audio, rate: float | None = None) -> Floats:
        """Samples (S,) or (S, channels) at `rate` Hz, a `Sound`'s own or the model's → (1, audio_samples, 1); None is silence.

        Taken is what `sound_of` takes. Raises `InputError`, also for a `Sound` of another rate than the one given.
        """
        audio = sound_of(audio)
        if audio is None:
            return np.zeros((1, self.audio_samples, 1), np.float32)
        if isinstance(audio, tuple):
            samples, rate = sound_at(audio, rate)
        else:
            samples = audio
        given = self.sampling_rate if rate is None else rate
        return clip_audio(samples, given, self.sampling_rate, self.audio_samples)[None, :, None]

    def chunk(self, query_chunk: int | None, query_memory: int | str | None) -> int:
        """How many queries to decode at once: as said, or as many as fit into `query_memory`, or the manifest's number."""
        room = None if query_memory is None else memory_bytes("query_memory", query_memory)
        if query_chunk is not None:
            return whole_number("query_chunk", query_chunk, InputError)
        return self.query_chunk if room is None else max(1, room // self.query_bytes)


def sound_at(audio: tuple[Any, ...], rate: float | None) -> tuple[Any, Any]:
    """The samples and the rate of a `Sound`, or of another pair like it. Raises `InputError`."""
    if len(audio) != 2 or np.ndim(audio[1]) != 0:
        raise InputError("the audio is a tuple: give samples, or a pair of samples and their rate such as read_wav's")
    if rate is not None and rate != audio[1]:
        raise InputError(f"the audio has {audio[1]} Hz, sampling_rate says {rate}: leave out sampling_rate")
    return audio


def output_positions(places: NDArray[np.int64], size: tuple[int, ...]) -> Floats:
    """Places (O,) in a flattened grid of `size` → (O, len(size)): -1 + 2·i/n per axis, rounded as torch rounds it."""
    indices = np.stack(np.unravel_index(places, size), axis=-1).astype(np.float32)
    return np.asarray(2 * indices / np.array(size, np.float32) - 1, np.float32)
