"""Clips without sound: what `read_clip` takes."""

from __future__ import annotations

import argparse

import numpy as np

from perceiver_runtime.files.clips import read_clip
from perceiver_runtime.files.containers.library import CONTAINERS
from perceiver_runtime.processing.heads.clips import ClipProcessor
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Reader, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    frames = ClipProcessor.from_json(dict(constants)).frames
    help_text = "a video file, a folder of pictures, an animated GIF, or a .npy array"
    help_text += f"; {frames} frames or more; several are answered one after the other"
    parser.add_argument("inputs", nargs="+", metavar="CLIP", help=help_text)


def _reader(constants: Constants) -> Reader:
    processor = ClipProcessor.from_json(dict(constants))
    return lambda items, _: {"pixel_values": np.stack([processor(item) for item in items])}


VIDEO = InputKind(
    name="video",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [read_clip(name) for name in arguments.inputs],
    from_sample=lambda inputs: inputs["video"],
    sample_files=array_files("video"),
    reader=_reader,
    columns=("video",),
    suffixes=(*CONTAINERS, ".gif", ".npy"),
    from_row=lambda row: read_clip(row["video"]),
    read=read_clip,
    axes=4,
)
