"""WAV files, read chunk by chunk: RIFF and RF64; PCM, float, A-law and mu-law; also in WAVE_FORMAT_EXTENSIBLE."""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.outputs import check_ending, replacing
from perceiver_runtime.files.sources import check_file, file_source

MAX_SECONDS = 3600
SOUNDS = (".wav", ".wave")  # what names end in
MAX_CHANNELS = 64
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_NAMES = {2: "ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC", 0x161: "WMA", 0xF1AC: "FLAC"}
_WIDTHS = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8), _A_LAW: (1,), _MU_LAW: (1,)}
_OTHERS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF", b"RIFX": "big-endian WAV", b"caff": "CAF"}
_CONVERT = "convert it: ffmpeg -i IN -c:a pcm_s16le OUT.wav"


class Sound(NamedTuple):
    """samples float32 (S, channels) in [-1, 1]; rate in Hz. Pipelines take it as it is: the rate goes with the samples."""

    samples: NDArray[np.float32]
    rate: int


class _Format(NamedTuple):
    code: int
    channels: int
    rate: int
    width: int  # bytes of a sample


def read_wav(sound: Any, *, start: float = 0.0, seconds: float | None = None) -> Sound:
    """A WAV file, or the part of it from `start` on, as many whole samples as cover `seconds`. Raises `InputError`.

    Taken are a path, the bytes of a file, and an object that reads them.
    Integers are divided by their type's range, floats are as in the file. A file that was cut short, or written to a pipe and
    so without a length, is read as far as it goes.
    """
    source = file_source(sound, "the sound")
    if source is None:
        raise InputError(f"the sound is a {type(sound).__name__}: give a path, the bytes of a WAV file, or a file object")
    check_file(source.file)
    path = source.name
    if not (math.isfinite(start) and (seconds is None or math.isfinite(seconds))):
        raise InputError(f"the part of {path} is to begin at {start} s: give a number")
    try:
        with io.BytesIO(source.file) if isinstance(source.file, bytes) else source.file.open("rb") as file:
            form, first_byte, length = _header(path, file)
            frame = form.width * form.channels
            length //= frame
            first = round(start * form.rate)
            if not 0 <= first < length:
                raise InputError(f"{path} is {length / form.rate:.2f} s long: it has nothing at {start} s")
            count = length - first if seconds is None else math.ceil(round(seconds * form.rate, 6))
            count = min(count, length - first)
            if count > MAX_SECONDS * form.rate:
                raise InputError(f"{path} is longer than {MAX_SECONDS} s: cut it")
            file.seek(first_byte + first * frame)
            data = file.read(count * frame)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    samples = _decoded(data[: len(data) // frame * frame], form)
    return Sound(samples.reshape(-1, form.channels), form.rate)


def write_wav(path: str | Path, samples: NDArray[Any], rate: int) -> None:
    """Samples (S,) or (S, channels), floats in [-1, 1] (clipped there) or int16, as 16-bit PCM. Raises `InputError`."""
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.ndim not in (1, 2) or not 1 <= channels <= MAX_CHANNELS:
        raise InputError(f"the samples have shape {samples.shape}, expected (samples,) or (samples, channels)")
    with wav_writer(path, rate, channels=channels) as write:
        write(samples)


@contextlib.contextmanager
def wav_writer(path: str | Path, rate: int, *, channels: int = 1) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Writes a WAV piece by piece: call what it gives with samples as `write_wav` takes them. Raises `InputError`."""
    check_ending(path, SOUNDS, "a sound")
    if not 1 <= rate < 1 << 31 or rate != int(rate):
        raise InputError(f"the sampling rate is {rate}: give whole Hz")
    with replacing(path) as whole, wave.open(str(whole), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        yield lambda samples: file.writeframes(_pcm(samples).tobytes())


def _pcm(samples: NDArray[Any]) -> NDArray[Any]:
    if samples.dtype != np.int16:
        if not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
            raise InputError(f"the samples are {samples.dtype}, or not finite: expected floats in [-1, 1], or int16")
        samples = np.rint(np.clip(samples, -1, 1) * 32767)
    return samples.astype("<i2")


def _header(path: str, file: IO[bytes]) -> tuple[_Format, int, int]:
    """The format, and where the samples are: first byte and number of bytes. Raises `InputError`."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        other = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")
        raise InputError(f"{path} is no WAV file that can be read{other and f', it is {other}'}: {_CONVERT}")
    form, long_data = None, None
    for _ in range(1000):  # chunks
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        start = file.tell()
        if name == b"ds64":  # of RF64: the lengths that need 64 bits
            body = file.read(16)
            long_data = int.from_bytes(body[8:16], "little")
        elif name == b"fmt ":
            form = _format(path, file.read(min(length, 64)))
        elif name == b"data":
            if form is None:
                break
            if length == 0xFFFFFFFF and long_data:
                length = long_data
            unknown = length == 0xFFFFFFFF or (length == 0 and head[4:8] == bytes(4))
            return form, start, size - start if unknown else min(length, size - start)
        file.seek(start + length + (length & 1))
    raise InputError(f"{path} is no WAV file that can be read, its chunks are damaged: {_CONVERT}")


def _format(path: str, body: bytes) -> _Format:
    if len(body) < 16:
        raise InputError(f"{path} is no WAV file that can be read, its format is damaged: {_CONVERT}")
    code, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", body[:16])
    if code == _EXTENSIBLE and len(body) >= 26:
        code = int.from_bytes(body[24:26], "little")  # a GUID, which begins with the code
    width = (bits + 7) // 8
    if code not in _WIDTHS or width not in _WIDTHS[code]:
        raise InputError(f"{path} has {bits}-bit samples in {_NAMES.get(code, f'format {code:#x}')}: {_CONVERT}")
    if not 1 <= channels <= MAX_CHANNELS or rate < 1 or frame != width * channels:
        raise InputError(f"{path} says {channels} channels at {rate} Hz, {frame} bytes a sample: it is damaged; {_CONVERT}")
    return _Format(code, channels, rate, width)


def _decoded(data: bytes, form: _Format) -> NDArray[np.float32]:
    if form.code == _FLOAT:
        return np.frombuffer(data, f"<f{form.width}").astype(np.float32)
    if form.code in (_A_LAW, _MU_LAW):
        table = _a_law() if form.code == _A_LAW else _mu_law()
        return table[np.frombuffer(data, np.uint8)]
    if form.width == 1:
        return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    if form.width == 3:
        high = np.pad(np.frombuffer(data, np.uint8).reshape(-1, 3), ((0, 0), (1, 0))).view("<i4")[:, 0]  # above a zero byte
        return high.astype(np.float32) / np.float32(2**31)
    return np.frombuffer(data, f"<i{form.width}").astype(np.float32) / np.float32(2 ** (8 * form.width - 1))


def _a_law() -> NDArray[np.float32]:
    """The value of each byte (ITU-T G.711): sign, three bits of segment, four of step, every other bit inverted."""
    byte = np.arange(256) ^ 0x55
    segment, step = byte >> 4 & 7, byte & 15
    size = np.where(segment == 0, step * 16 + 8, (step * 16 + 264) << np.maximum(segment - 1, 0))
    return (np.where(byte & 0x80, size, -size) / 32768).astype(np.float32)


def _mu_law() -> NDArray[np.float32]:
    """The same of mu-law, all bits inverted."""
    byte = np.arange(256) ^ 0xFF
    size = (((byte & 15) * 8 + 132) << (byte >> 4 & 7)) - 132
    return (np.where(byte & 0x80, -size, size) / 32768).astype(np.float32)
