"""MP4 files, written frame by frame: H.264 where the library has it, AAC sound, each frame at its own time."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import BackendError, InputError
from perceiver_runtime.files.containers.library import pyav, reason

_CLOCK = Fraction(1, 90_000)  # seconds: what times are rounded to
_CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that the library has
_BT709 = 1  # the number of this colour space in video files
_SOUND_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz, of AAC


class Mp4Writer:
    """Frames uint8 (H, W, 3), of one size, and sound, into an MP4 file at `path`.

    Sides of an odd number of pixels repeat the last one: H.264 halves them for colour. Frames have B-frames off, so that
    durations hold for frames at any times. Raises `InputError`, `BackendError`.
    """

    def __init__(self, path: Path, rate: float, *, sound_rate: int | None = None) -> None:
        self._library, self.path, self._rate = pyav(path.name), path, rate
        codec = next((name for name in _CODECS if name in self._library.codecs_available), None)
        if codec is None:
            raise BackendError(
                f"{path.name} cannot be written: this PyAV has none of {', '.join(_CODECS)}; write a GIF or a folder"
            )
        if codec == _CODECS[-1]:
            warnings.warn(f"this PyAV has no H.264 encoder: {path.name} is MPEG-4 Part 2", stacklevel=3)
        self._container = self._library.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._video = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        self._video.codec_context.time_base = _CLOCK
        self._begun = False
        self._last = -1
        self._sound = None if sound_rate is None else self._add_sound(sound_rate)

    def write(self, frame: NDArray[np.uint8], seconds: float) -> None:
        """A frame and its time, later than that of the one before."""
        if not self._begun:
            self._begin(frame.shape[0], frame.shape[1])
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
        picture = self._library.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="itu709", dst_color_range="MPEG")
        self._last = max(self._last + 1, round(seconds / _CLOCK))
        picture.pts, picture.time_base = self._last, _CLOCK
        self._put(self._video, picture)

    def write_sound(self, samples: NDArray[np.float32]) -> None:
        """The next samples (n,), in [-1, 1] (clipped there), of one channel."""
        if self._sound is None or len(samples) == 0:
            return
        stream, rate, place, resampler = self._sound
        piece = self._library.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.clip(samples, -1, 1)[None], np.float32), format="fltp", layout="mono"
        )
        piece.sample_rate, piece.pts, piece.time_base = rate, place, Fraction(1, rate)
        self._sound = (stream, rate, place + len(samples), resampler)
        for part in resampler.resample(piece):
            self._put(stream, part)

    def close(self) -> None:
        """The end of the file. Without it nothing there can be read."""
        try:
            if self._sound is not None:
                for part in self._sound[3].resample(None):
                    self._put(self._sound[0], part)
                self._put(self._sound[0], None)
            if self._begun:
                self._put(self._video, None)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release the library's objects; also after an error."""
        try:
            self._container.close()
        except self._library.error.FFmpegError as error:
            raise self._failed(error) from error

    def _begin(self, height: int, width: int) -> None:
        self._begun = True
        context = self._video.codec_context
        context.width, context.height, context.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        context.options = {"bf": "0", **({"crf": "18"} if context.name == "libx264" else {"q": "3"})}

    def _add_sound(self, rate: int) -> Any:
        nearest = min((own for own in _SOUND_RATES if own >= rate), default=_SOUND_RATES[-1])
        stream = self._container.add_stream("aac", rate=nearest)
        stream.codec_context.layout = "mono"
        return stream, rate, 0, self._library.AudioResampler(format="fltp", layout="mono", rate=nearest)

    def _put(self, stream: Any, frame: Any) -> None:
        try:
            for packet in stream.encode(frame):
                self._container.mux(packet)
        except (self._library.error.FFmpegError, ValueError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> InputError:
        return InputError(f"{self.path.name} cannot be written: {reason(error)}")
