"""Frames of a camera: through OpenCV where it is installed, else through the device input of PyAV's libraries."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import BackendError, InputError
from perceiver_runtime.files.containers.library import pyav, reason
from perceiver_runtime.files.containers.reading import TimedFrame

_DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}  # of PyAV: format, name


def opencv() -> Any | None:
    """The module cv2, None where it is not installed."""
    try:
        return importlib.import_module("cv2")
    except ImportError:
        return None


def camera_frames(number: int) -> Iterator[TimedFrame]:
    """Frames (H, W, 3) of camera `number` and their times, until the camera ends. Raises `InputError`, `BackendError`."""
    cv2 = opencv()
    if cv2 is not None:
        return _from_opencv(cv2, number)
    device, name = _DEVICES.get(sys.platform, ("", ""))
    if not device:
        raise BackendError(f"cameras on {sys.platform} need OpenCV: pip install opencv-python")
    return device_frames(name.format(number), device, f"camera {number}")


def device_frames(name: str, device: str, what: str) -> Iterator[TimedFrame]:
    """Frames of an input device of FFmpeg's. Raises `InputError`, `BackendError`."""
    library = pyav(what)
    try:
        with library.open(name, format=device) as container:
            start = time.monotonic()
            for frame in container.decode(container.streams.video[0]):
                yield TimedFrame(time.monotonic() - start, frame.to_ndarray(format="rgb24"))
    except (library.error.FFmpegError, OSError) as error:
        raise InputError(f"{what} cannot be opened as {name} ({reason(error)}): is it there, and may you read it?") from error


def _from_opencv(cv2: Any, number: int) -> Iterator[TimedFrame]:
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise InputError(f"camera {number} cannot be opened by OpenCV: is it there, and may you read it?")
        start = time.monotonic()
        while True:
            taken, frame = capture.read()
            if not taken:
                return
            yield TimedFrame(time.monotonic() - start, np.ascontiguousarray(frame[..., ::-1]))  # OpenCV's order is BGR
    finally:
        capture.release()


class Preview:
    """A window that shows pictures, where OpenCV can open one; q or Esc closes it."""

    def __init__(self, title: str) -> None:
        self._cv2, self._title = opencv(), title
        self.shown = self._cv2 is not None and self._opens()

    def show(self, picture: NDArray[np.uint8]) -> bool:
        """The picture uint8 (H, W, 3); False once somebody has asked for the end."""
        if not self.shown or self._cv2 is None:
            return True
        self._cv2.imshow(self._title, np.ascontiguousarray(picture[..., ::-1]))
        return self._cv2.waitKey(1) & 0xFF not in (ord("q"), 27)

    def close(self) -> None:
        """The window goes."""
        if self.shown and self._cv2 is not None:
            self._cv2.destroyWindow(self._title)

    def _opens(self) -> bool:
        try:
            self._cv2.namedWindow(self._title)  # type: ignore[union-attr]
        except Exception:  # cv2.error: this OpenCV was built without windows, or there is no screen
            return False
        return True
