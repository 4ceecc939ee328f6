"""Sound to a model's input: one channel, the model's sampling rate, the clip's length. numpy alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import InputError

Floats = NDArray[np.float32]
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
_HALF_WIDTH, _KAISER_BETA = 10, 5.0  # of the filter: zero crossings to each side, and its window's shape


def mono(audio: NDArray[Any]) -> Floats:
    """Samples (S,) or (S, channels) → float32 (S,), the mean of the channels.

    Integers are divided by their type's range; floats are taken as they are, in [-1, 1]. Raises `InputError` for what is no
    sound: another shape, more channels than samples, NaN.
    """
    if not isinstance(audio, np.ndarray):
        raise InputError(f"the audio is a {type(audio).__name__}, expected a numpy array (samples,): read the file first")
    if audio.ndim not in (1, 2) or audio.size == 0:
        raise InputError(f"the audio has shape {audio.shape}, expected (samples,) or (samples, channels)")
    if audio.ndim == 2 and audio.shape[1] > min(audio.shape[0], 64):
        raise InputError(f"the audio has shape {audio.shape}, expected (samples, channels): transpose it")
    if np.issubdtype(audio.dtype, np.floating):
        samples = audio.astype(np.float32)
    elif audio.dtype == np.uint8:
        samples = audio.astype(np.float32) / np.float32(128) - np.float32(1)
    elif audio.dtype in (np.int16, np.int32):
        samples = audio.astype(np.float32) / -float(np.iinfo(audio.dtype).min)
    else:
        raise InputError(f"the audio is {audio.dtype}, expected float in [-1, 1], int16, int32 or uint8: convert it")
    if not np.isfinite(samples).all():
        raise InputError("the audio holds NaN or infinity: replace those samples, with 0 for silence")
    return samples if samples.ndim == 1 else samples.mean(axis=1)


def resample(samples: Floats, rate: float, target: int) -> Floats:
    """Samples (S,) at `rate` Hz → float32 (ceil(S · target / rate),) at `target` Hz.

    Polyphase filtering with a windowed sinc (Kaiser, ten zero crossings to each side): what scipy.signal.resample_poly does.
    Frequencies that the target rate cannot hold are removed. Raises `InputError` for a rate that is none.
    """
    if not (isinstance(rate, (int, float)) and MIN_RATE <= rate <= MAX_RATE) or rate != int(rate):
        raise InputError(f"the sampling rate is {rate}: give whole Hz from {MIN_RATE} to {MAX_RATE}")
    common = math.gcd(int(rate), target)
    up, down = target // common, int(rate) // common
    if up == down:
        return samples
    largest = max(up, down)
    half = _HALF_WIDTH * largest
    taps = np.arange(-half, half + 1)
    filter_taps = np.sinc(taps / largest) * np.kaiser(2 * half + 1, _KAISER_BETA)
    filter_taps *= up / filter_taps.sum()
    per_phase = -(-len(filter_taps) // up)
    by_phase = np.zeros((up, per_phase))
    phases, steps = np.arange(len(filter_taps)) % up, np.arange(len(filter_taps)) // up
    by_phase[phases, steps] = filter_taps
    count = -(-len(samples) * up // down)
    place = np.arange(count) * down + half  # in the up-sampled signal, at the filter's first tap
    newest, phase = place // up, place % up
    padded = np.concatenate([np.zeros(per_phase), samples, np.zeros(per_phase + half // up + 1)])
    result = np.zeros(count)
    for step in range(per_phase):
        result += by_phase[phase, step] * padded[newest - step + per_phase]
    return result.astype(np.float32)


def fit_length(samples: Floats, length: int) -> Floats:
    """Samples (S,) → (length,), silence after them. Raises `InputError` if there are more: which to keep is not ours to say."""
    if len(samples) > length:
        raise InputError(f"the audio has {len(samples)} samples, the clip takes {length}: cut it to the part of these frames")
    return np.pad(samples, (0, length - len(samples)))
