"""WAV files, PCM of 8, 16, 24 or 32 bits, with the standard library."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import InputError

MAX_SECONDS = 3600


class Sound(NamedTuple):
    """samples float32 (S, channels) in [-1, 1]; rate in Hz."""

    samples: NDArray[np.float32]
    rate: int


def read_wav(path: str | Path, *, start: float = 0.0, seconds: float | None = None) -> Sound:
    """A WAV file, or the part of it from `start` on, `seconds` long. Raises `InputError`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels, length = file.getframerate(), file.getsampwidth(), file.getnchannels(), file.getnframes()
            if width not in (1, 2, 3, 4):
                raise InputError(f"{path} has samples of {width} bytes: convert it to 16-bit PCM")
            first = round(start * rate)
            if not 0 <= first < length:
                raise InputError(f"{path} is {length / max(rate, 1):.2f} s long: it has nothing at {start} s")
            count = length - first if seconds is None else round(seconds * rate)
            if count > MAX_SECONDS * rate:
                raise InputError(f"{path} is longer than {MAX_SECONDS} s: cut it")
            file.setpos(first)
            data = file.readframes(count)
    except InputError:
        raise
    except Exception as error:  # of a broken file the wave module raises RuntimeError and others as well
        raise InputError(f"{path} is no WAV file that can be read ({error!r}): convert it to 16-bit PCM") from error
    data = data[: len(data) // (width * channels) * (width * channels)]  # a file cut short ends in part of a sample
    if width == 1:
        samples = np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    elif width == 3:
        bytes_ = np.frombuffer(data, np.uint8).reshape(-1, 3)
        high = np.pad(bytes_, ((0, 0), (1, 0))).view("<i4")[:, 0]  # the three bytes above a zero one
        samples = high.astype(np.float32) / np.float32(2**31)
    else:
        samples = np.frombuffer(data, f"<i{width}").astype(np.float32) / np.float32(2 ** (8 * width - 1))
    return Sound(samples.reshape(-1, channels), rate)


def write_wav(path: str | Path, samples: NDArray[np.float32], rate: int) -> None:
    """Samples (S,) or (S, channels) in [-1, 1], clipped there, as 16-bit PCM. Raises `InputError`."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    data = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    try:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
