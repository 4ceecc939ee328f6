"""Images: what `read_image` takes."""

from __future__ import annotations

import argparse

import numpy as np

from perceiver_runtime.files.images import read_image
from perceiver_runtime.files.picture_series import PICTURES
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Reader, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("inputs", nargs="+", metavar="IMAGE", help="an image file; several are a batch")


def _reader(constants: Constants) -> Reader:
    processor = ImageProcessor.from_json(dict(constants))
    return lambda items, _: {"pixel_values": np.stack([processor(item) for item in items])}


IMAGE = InputKind(
    name="image",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [read_image(name) for name in arguments.inputs],
    from_sample=lambda inputs: inputs["image"],
    sample_files=array_files("image"),
    reader=_reader,
    columns=("image",),
    suffixes=PICTURES,
    from_row=lambda row: read_image(row["image"]),
    read=read_image,
    axes=3,
    forms={"image": "bytes"},
    check=lambda constants: ImageProcessor.from_json(dict(constants)).check,
)
