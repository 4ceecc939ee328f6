"""Clips for tests: the demo's photographs moved, encoded by PyAV."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from skimage import data, transform

CAT, BACKGROUND = (4, 0), (-2, -1)  # pixels a frame, (dx, dy)
_COFFEE = (transform.resize(data.coffee(), (150, 225), anti_aliasing=True) * 255).astype(np.uint8)
_CAT = (transform.resize(data.chelsea()[:, 100:400], (60, 60), anti_aliasing=True) * 255).astype(np.uint8)


def photographs(count: int, height: int = 96, width: int = 128) -> np.ndarray:
    """uint8 (count, height, width, 3): a cat moves right over a table that moves left and up."""
    frames = []
    for number in range(count):
        top, left = 20 + number, 40 + 2 * number
        frame = _COFFEE[top : top + height, left : left + width].copy()
        x = 16 + 4 * number
        frame[20:80, x : x + 60] = _CAT[:, : max(0, width - x)]
        frames.append(frame)
    return np.stack(frames)


def tone(rate: int, seconds: float, hertz: float = 300) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Any = None,
    options: dict[str, str] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 8000,
    sound_codec: str = "aac",
    rate: int = 25,
) -> None:
    """A video file as other programs write it: with PyAV alone, none of our code. `rate` frames a second, or at `times`."""
    times = [number / rate for number in range(len(frames))] if times is None else times
    clock = Fraction(1, rate if path.suffix == ".avi" else 1000)  # AVI has frames of one length
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        stream.codec_context.time_base = clock
        stream.codec_context.options = {"bf": "0", **(options or {})}
        audio = None
        if sound is not None:
            audio = container.add_stream(sound_codec, rate=sound_rate, layout="mono")
        for seconds, frame in zip(times, frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = round(seconds / clock), clock
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if audio is not None and sound is not None:
            resampler = av.AudioResampler(format=audio.codec_context.format.name, layout="mono", rate=sound_rate)
            piece = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = sound_rate, 0, Fraction(1, sound_rate)
            for part in [*resampler.resample(piece), *resampler.resample(None)]:
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a rotation into an MP4's track header (ISO 14496-12, 8.3.2): (a, b, c, d) of x' = a·x + c·y, y' = b·x + d·y."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
