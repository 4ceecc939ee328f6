"""Two frames of one size: a tuple of two of what `read_image` takes."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.picture_series import PICTURES
from perceiver_runtime.processing.flow import FlowProcessor, check_frames, read_frames, tile_input
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Reader, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("inputs", nargs=2, metavar="FRAME", help="two image files of one size")


def _from_arguments(arguments: argparse.Namespace, constants: Constants) -> list[Any]:
    return [read_frames(*arguments.inputs)]


def _reader(constants: Constants) -> Reader:
    tile = FlowProcessor.from_json(dict(constants)).tile
    return lambda items, _: {"frames": np.stack([tile_input(*pair_of(item, "two frames"), tile) for item in items])}


def _read(item: Any) -> tuple[Array, Array]:
    return read_frames(*pair_of(item, "two frames"))


def pair_of(item: Any, what: str) -> tuple[Any, Any]:
    """The item, which is a tuple of two. Raises `InputError`."""
    if not isinstance(item, tuple) or len(item) != 2:
        raise InputError(f"give a tuple of {what}; found {type(item).__name__}")
    return item


FRAMES = InputKind(
    name="frames",
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    from_sample=lambda inputs: (inputs["frame1"], inputs["frame2"]),
    sample_files=array_files("frame1", "frame2"),
    reader=_reader,
    columns=("frame1", "frame2"),
    suffixes=PICTURES,
    consecutive=True,
    from_row=lambda row: read_frames(row["frame1"], row["frame2"]),
    read=_read,
    tuples=False,
    forms={"frame1": "bytes", "frame2": "bytes"},
    check=lambda constants: check_frames,
)
