"""What attacks are made with: changed bundles whose every sum is right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from perceiver_runtime.bundle import file_sha256
from perceiver_runtime.manifest import FileEntry, Manifest

WEIGHTS = "weights.safetensors"


def forge(bundle: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """Change decode.onnx and make every sum in the manifest fit again."""
    path = bundle / "decode.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    reseal(bundle, path.name, model.SerializeToString())


def reseal(bundle: Path, name: str, content: bytes) -> None:
    """Write a file of a bundle anew, its size and sum in the manifest as well."""
    (bundle / name).write_bytes(content)
    files = Manifest.from_json((bundle / "manifest.json").read_bytes()).files
    resealed = FileEntry(name, *file_sha256(bundle / name))
    edit_manifest(bundle, files=tuple(resealed if entry.path == name else entry for entry in files))


def edit_manifest(bundle: Path, **changes: Any) -> None:
    """Change fields of a bundle's manifest and give it the sum that fits: what a forger would do."""
    path = bundle / "manifest.json"
    path.write_text(dataclasses.replace(Manifest.from_json(path.read_bytes()), **changes).to_json())


def rename_listed(bundle: Path, old: str, new: str) -> None:
    """Another name for a file in the manifest's list, which no `Manifest` would take."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    next(entry for entry in data["files"] if entry["path"] == old)["path"] = new
    path.write_text(json.dumps(data))


def external(
    location: str,
    offset: str = "0",
    length: str = "4",
    *,
    dims: Sequence[int] = (1,),
    dtype: int = TensorProto.FLOAT,
    **more: str,
) -> TensorProto:
    """A tensor that is elsewhere."""
    tensor = TensorProto(name="evil", dims=dims, data_type=dtype, data_location=TensorProto.EXTERNAL)  # type: ignore[arg-type]
    for key, value in {"location": location, "offset": offset, "length": length, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(**attribute: object) -> onnx.NodeProto:
    """A Constant."""
    return helper.make_node("Constant", [], ["evil"], **attribute)


def subgraph(inner: onnx.NodeProto) -> onnx.NodeProto:
    """An If with a node in its branch."""
    return helper.make_node("If", ["c"], ["x"], then_branch=helper.make_graph([inner], "g", [], []))


def sparse(values: TensorProto) -> onnx.SparseTensorProto:
    """A sparse tensor of these values."""
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])
