"""PyAV, imported late, and how a video file is opened with it: as one of three formats, through a descriptor of our own.

FFmpeg knows formats that are playlists and open other files and addresses. None of them is ever tried: the first bytes
decide between MP4 (QuickTime), Matroska (WebM) and AVI, and FFmpeg is given a Python file, so it knows no name to look beside.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perceiver_runtime.common.errors import BackendError, InputError

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")  # what names end in
MAX_PIXELS = 1 << 26  # of a frame: twice 8K; refused before it is decoded
FAULTS = (OSError, ValueError, OverflowError)  # what a damaged file makes PyAV raise besides its own
_MATROSKA, _RIFF = b"\x1aE\xdf\xa3", b"RIFF"


def pyav(what: str) -> Any:
    """The module. Raises `BackendError` that says how to get it."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise BackendError(
            f"{what} needs PyAV: pip install 'perceiver-runtime[video]', or use a folder of pictures or a GIF"
        ) from error


@contextlib.contextmanager
def opened_container(path: Path) -> Iterator[Any]:
    """PyAV's container of a file, nothing decoded yet. What it raises meanwhile becomes an `InputError`."""
    library = pyav(path.name)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with path.open("rb") as file:
        begin = file.read(12)
        file.seek(0)
        name = "matroska" if begin[:4] == _MATROSKA else "avi" if begin[:4] == _RIFF else "mov"
        try:
            with library.open(file, format=name) as container:
                yield container
        except (library.error.FFmpegError, *FAULTS) as error:
            raise InputError(f"{path} is not a video file that can be read ({reason(error)}): save it again as MP4") from error


def video_stream(path: Path, container: Any) -> Any:
    """The first video stream, its size checked. Raises `InputError`."""
    if not container.streams.video:
        raise InputError(f"{path} holds no video: give a file with one")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise InputError(f"{path} holds video of a kind that PyAV's libraries do not know: convert it to H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width < 1 or height < 1:
        raise InputError(f"{path} does not say how large its frames are: it is damaged; save it again")
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} has frames of {width}x{height}, more than the {MAX_PIXELS} pixels allowed: make it smaller")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # also of frames that turn out larger
    return stream


def reason(error: Exception) -> str:
    """What FFmpeg says, without its number and the file's name."""
    return str(getattr(error, "strerror", None) or error)
