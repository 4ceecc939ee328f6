"""Clips without sound: frames (T, H, W, 3)."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from perceiver_runtime.files.videos import read_video
from perceiver_runtime.processing.heads.clips import ClipProcessor
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Reader, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    frames = ClipProcessor.from_json(dict(constants)).frames
    help_text = f"a folder of pictures, an animated GIF, or a .npy array; {frames} frames or more; several are a batch"
    parser.add_argument("inputs", nargs="+", metavar="CLIP", help=help_text)


def _reader(constants: Constants) -> Reader:
    processor = ClipProcessor.from_json(dict(constants))
    return lambda items, _: {"pixel_values": np.stack([processor(item) for item in items])}


def frames_of(value: Any) -> Any:
    """Frames as they are, or those of a file or a folder."""
    return value if isinstance(value, (np.ndarray, list)) else read_video(str(value))


VIDEO = InputKind(
    name="video",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [frames_of(name) for name in arguments.inputs],
    from_sample=lambda inputs: inputs["video"],
    sample_files=array_files("video"),
    reader=_reader,
    columns=("video",),
    from_row=lambda row: frames_of(row["video"]),
)
