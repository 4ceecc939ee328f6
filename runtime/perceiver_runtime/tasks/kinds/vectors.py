"""Vectors: an array of floats (M, channels), or a `.npy` file of one."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.files.images import read_image
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, TextOptions, array_files


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("inputs", nargs="+", metavar="NPY", help="a .npy file of vectors (M, channels); several are a batch")


def _reader(constants: Constants) -> Reader:
    channels = constants.get("channels")
    if type(channels) is not int or channels < 1:
        raise IntegrityError(f"the manifest's features have {channels!r} channels: export the bundle again")

    def read(given: list[Any], _: TextOptions) -> Inputs:
        items = [_read(item) for item in given]
        for item in items:
            valid = isinstance(item, np.ndarray) and item.ndim == 2 and item.shape[1] == channels and len(item) > 0
            if not valid or not np.issubdtype(item.dtype, np.floating) or not np.isfinite(item).all():
                shape = getattr(item, "shape", type(item).__name__)
                raise InputError(f"vectors should be finite floats (M, {channels}), found {shape}")
        inputs = np.zeros((len(items), max(map(len, items)), channels), np.float32)
        mask = np.zeros(inputs.shape[:2], np.int64)
        for row, item in enumerate(items):
            inputs[row, : len(item)], mask[row, : len(item)] = item, 1
        return {"inputs": inputs, "attention_mask": mask}

    return read


def _read(item: Any) -> Array:
    return read_image(item, "the array of vectors")


VECTORS = InputKind(
    name="vectors",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [_read(name) for name in arguments.inputs],
    from_sample=lambda inputs: inputs["vectors"],
    sample_files=array_files("vectors"),
    reader=_reader,
    columns=("vectors",),
    suffixes=(".npy",),
    from_row=lambda row: _read(row["vectors"]),
    read=_read,
    axes=2,
    forms={"vectors": "bytes"},
)
