"""Clips and sounds as people have them: files, arrays, frames one after the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.arrays import read_array
from perceiver_runtime.files.containers.reading import TimedFrame
from perceiver_runtime.files.frames import Video, open_video
from perceiver_runtime.files.images import read_images
from perceiver_runtime.files.sources import array_of, check_file, file_source, is_file, several
from perceiver_runtime.files.videos import read_sound
from perceiver_runtime.files.wav import Sound

CLIP = "a path, a Video of open_video, an array (T, H, W, 3), or a list or generator of pictures"
SOUND = (
    "a path (a WAV or a video file, .npy samples), the bytes of a WAV file, a file object, a Sound of read_wav, "
    "an array (samples,), or None"
)


def read_clip(clip: Any) -> NDArray[Any] | list[NDArray[Any]] | Video:
    """The frames of a clip: of a path a `Video` to go through, an array as it is, or each picture of a list or a generator.

    Pictures are what `read_image` takes, and frames with times. Raises `InputError` for the rest, `BackendError` where PyAV or
    Pillow is needed and missing.
    """
    if isinstance(clip, Video):
        return clip
    if isinstance(clip, (str, os.PathLike)):
        source = file_source(clip, "the clip")
        assert source is not None  # a path
        return open_video(source.name)
    array = array_of(clip, "the clip")
    if array is not None and array.dtype.kind not in "OU":
        return array
    frames = several(clip)
    if frames is None:
        raise InputError(f"the clip is a {type(clip).__name__}: give {CLIP}")
    frames = [frame.pixels if isinstance(frame, TimedFrame) else frame for frame in frames]
    return read_images(frames, [f"frame {number}" for number in range(len(frames))])


def sound_of(sound: Any) -> NDArray[Any] | Sound | None:
    """Samples, or a `Sound` with its rate, which a `.npy` file lacks; None stays None.

    Raises `InputError` for what is none of `SOUND`.
    """
    if sound is None or isinstance(sound, tuple):
        return sound  # type: ignore[return-value]  # samples and a rate, which its user checks
    array = array_of(sound, "the audio")
    if array is not None:
        return array
    if isinstance(sound, (str, os.PathLike)) and os.fsdecode(sound).lower().endswith(".npy"):
        check_file(Path(os.fsdecode(sound)))
        return read_array(Path(os.fsdecode(sound)))
    if is_file(sound):
        return read_sound(sound)
    raise InputError(f"the audio is a {type(sound).__name__}: give {SOUND}")
