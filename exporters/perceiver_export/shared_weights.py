"""All larger tensors of a bundle's graphs in one safetensors file, which the graphs name as their ONNX external data.

A safetensors file is a length, a JSON header and the raw tensors: an external data reference with the right offset and
length reads straight from it, and the file stays readable on its own.
"""

from __future__ import annotations

import errno
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from perceiver_export.passes.exact.share_initializers import Identity, identity

FILE = "weights.safetensors"
MIN_BYTES = 1024  # smaller tensors stay in the graph


def save_graphs(models: Mapping[str, ir.Model], folder: Path) -> None:
    """Write NAME.onnx for each model and one weights file for all. A tensor that two graphs have is written once.

    Raises `OSError` where there is no room.
    """
    tensors: dict[str, NDArray[Any]] = {}
    stored_as: dict[Identity, str] = {}
    for model in models.values():
        for value in _large_initializers(model):
            same = identity(_constant(value))
            if same not in stored_as:
                stored_as[same] = _unused_name(value.name or "", tensors)
                tensors[stored_as[same]] = np.ascontiguousarray(_constant(value).numpy())
    try:
        save_file(tensors, folder / FILE)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(folder / FILE)) from error
    places = _places(folder / FILE)
    for name, model in models.items():
        for value in _large_initializers(model):
            constant = _constant(value)
            offset, length = places[stored_as[identity(constant)]]
            shape = ir.Shape(constant.numpy().shape)
            value.const_value = ir.ExternalTensor(
                FILE, offset, length, constant.dtype, shape=shape, name=value.name or "", base_dir=folder
            )
        ir.save(model, folder / f"{name}.onnx")


def _unused_name(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or with a number where another graph's tensor of that name is different."""
    candidates = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _large_initializers(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.initializers.values() if _constant(value).nbytes > MIN_BYTES]


def _constant(value: ir.Value) -> ir.TensorProtocol:
    if value.const_value is None:
        raise ValueError(f"the initializer {value.name} has no value")
    return value.const_value


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Byte offset in the file and length of each tensor."""
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_size))
    header.pop("__metadata__", None)
    spans = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: (8 + header_size + start, end - start) for name, (start, end) in spans.items()}
