"""The user's own inputs in files, of a model that takes one picture, text, sound or clip alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from perceiver_deploy.own.kinds import Image, Text
from perceiver_deploy.own.media_kinds import Audio, Video
from perceiver_deploy.tasks import samples
from perceiver_runtime.files.containers.library import CONTAINERS
from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.picture_series import PICTURES
from perceiver_runtime.files.videos import read_video
from perceiver_runtime.files.wav import SOUNDS, read_wav
from perceiver_runtime.processing.heads.sounds import SoundProcessor


class Files(NamedTuple):
    """What is found in a folder, and how an item is read of it."""

    find: Callable[[Path], list[Any]]
    read: Callable[[Any, Any], Any]  # the kind, and what was found
    word: str  # for an input on a command line


def _sound(kind: Audio, path: Path) -> Any:
    processor = SoundProcessor(kind.rate, kind.samples)
    return processor.windows(processor(read_wav(path)))[0].samples


FILES: dict[type, Files] = {
    Text: Files(samples.texts, lambda kind, text: text[: kind.max_length - 2], "TEXT"),
    Image: Files(lambda folder: samples.files(folder, PICTURES), lambda kind, path: read_image(path), "image.png"),
    Audio: Files(lambda folder: samples.files(folder, SOUNDS), _sound, "sound.wav"),
    Video: Files(
        lambda folder: samples.files(folder, (*CONTAINERS, ".gif", ".npy")), lambda kind, path: read_video(path), "clip.gif"
    ),
}
