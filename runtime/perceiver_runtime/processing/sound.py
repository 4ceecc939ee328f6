"""Sound to a model's input: one channel, the model's sampling rate, the clip's length. numpy alone."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

Floats = NDArray[np.float32]
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MAX_LEVEL = 4.0  # 12 dB above full scale: louder floats are integers that were not divided
_HALF_WIDTH, _KAISER_BETA = 10, 5.0  # of the filter: zero crossings to each side, and its window's shape


def mono(audio: NDArray[Any]) -> Floats:
    """Samples (S,) or (S, channels) → float32 (S,), the mean of the channels.

    Integers are divided by their type's range; floats are taken as they are, in [-1, 1] or a little louder. Raises `InputError`
    for what is no sound: another shape, more channels than samples, NaN, floats at the scale of integers.
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
    loudest = float(np.abs(samples).max())
    if loudest > MAX_LEVEL:
        raise InputError(
            f"the audio is {audio.dtype} with values up to {loudest:g}, expected floats in [-1, 1]: divide 16-bit values by "
            "32768, or give them as int16"
        )
    return samples if samples.ndim == 1 else samples.mean(axis=1)


def resample(samples: Floats, rate: float, target: int) -> Floats:
    """Samples (S,) at `rate` Hz → float32 (ceil(S · target / rate),) at `target` Hz.

    Polyphase filtering with a windowed sinc (Kaiser, ten zero crossings to each side): what scipy.signal.resample_poly does.
    Frequencies that the target rate cannot hold are removed. Raises `InputError` for a rate that is none.
    """
    rate = checked_rate(rate)
    common = math.gcd(rate, target)
    up, down = target // common, rate // common
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


def checked_rate(rate: Any) -> int:
    """A sampling rate, Python's number or numpy's, as whole Hz. Raises `InputError`."""
    number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if not number or not MIN_RATE <= rate <= MAX_RATE or rate != int(rate):
        raise InputError(f"the sampling rate is {rate}: give whole Hz from {MIN_RATE} to {MAX_RATE}")
    return int(rate)


def clip_audio(audio: NDArray[Any], rate: float, target: int, length: int) -> Floats:
    """Samples (S,) or (S, channels) at `rate` Hz → exactly `length` at `target` Hz, silence after them.

    As many samples as cover the clip are taken: where `rate` does not divide evenly, that is up to one sample more, which is
    cut. Raises `InputError` if there are more: which to keep is not ours to say.
    """
    samples, rate = mono(audio), checked_rate(rate)
    covering = -(-length * rate // target)
    if len(samples) > covering:
        raise InputError(
            f"the audio has {len(samples)} samples at {rate} Hz, the clip takes {covering}: cut it to the part of these "
            f"frames, {length / target:.4g} s"
        )
    found = resample(samples, rate, target)[:length]
    return np.pad(found, (0, max(0, length - len(found))))
