"""What attacks are made with: changed bundles whose every sum is right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from perceiver_runtime.bundle.manifest import FileEntry, Manifest
from perceiver_runtime.bundle.reader import file_sha256

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


def other_weights(bundle: Path) -> None:
    """Write over the weights in place: same size, other numbers."""
    with (bundle / WEIGHTS).open("r+b") as file:
        content = file.read()
        start = 8 + int.from_bytes(content[:8], "little")
        file.seek(start)
        file.write(bytes(len(content) - start))


def varint(value: int) -> bytes:
    """A protobuf number; what is negative takes all 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes, *, wire_type: int | None = None) -> bytes:
    """A protobuf field by hand, as no library would write it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    kind = 2 if wire_type is None else wire_type
    return varint(number << 3 | kind) + (varint(len(value)) if kind == 2 else b"") + value


def append(bundle: Path, more: bytes) -> None:
    """More fields at the end of decode.onnx."""
    reseal(bundle, "decode.onnx", (bundle / "decode.onnx").read_bytes() + more)


def add_to_graph(bundle: Path, more: bytes) -> None:
    """More fields at the end of its graph."""
    model = onnx.load(bundle / "decode.onnx", load_external_data=False)
    graph = model.graph.SerializeToString() + more
    model.ClearField("graph")
    reseal(bundle, "decode.onnx", model.SerializeToString() + field(7, graph))


def add_node(bundle: Path, *fields: bytes) -> None:
    """A node of these fields."""
    add_to_graph(bundle, field(1, b"".join(fields)))


def add_tensor(bundle: Path, *fields: bytes) -> None:
    """An initializer of these fields, called evil."""
    add_to_graph(bundle, field(5, b"".join([*fields, field(8, b"evil")])))


def external_pair(bundle: Path, pair: bytes) -> None:
    """A tensor with external data of one value, and one more pair that describes it."""
    add_tensor(bundle, external(WEIGHTS).SerializeToString(), field(13, pair))


def hidden_location(bundle: Path, location: str) -> None:
    """External data at `location` for readers that cut tags to 32 bits, in the weights' file for others."""
    hidden = varint((1 << 32) | 2 << 3 | 2) + varint(len(location)) + location.encode()
    place = field(1, b"location") + field(2, WEIGHTS.encode()) + hidden
    rest = [field(13, field(1, key) + field(2, value)) for key, value in ((b"offset", b"0"), (b"length", b"4"))]
    add_tensor(bundle, field(1, 1), field(2, 1), field(13, place), *rest, field(14, 1))


def divide(bundle: Path, operator: str, by: list[int] | None) -> None:
    """A node that divides the smallest integer by these, or by the shape of an input."""

    def change(model: onnx.ModelProto) -> None:
        graph, smallest = model.graph, -(1 << 63)
        graph.initializer.append(helper.make_tensor("evil_a", TensorProto.INT64, [1], [smallest]))
        if by is None:
            graph.node.insert(0, helper.make_node("Shape", [graph.input[0].name], ["evil_b"]))
        else:
            graph.initializer.append(helper.make_tensor("evil_b", TensorProto.INT64, [len(by)], by))
        graph.node.insert(1, helper.make_node(operator, ["evil_a", "evil_b"], ["evil_c"], "evil"))

    forge(bundle, change)


def quantize(
    bundle: Path, *, scale: str = "scale", zero: TensorProto | None = None, reader: str = "DequantizeLinear", **attributes: int
) -> None:
    """Add a node `evil` that quantizes the latents, and what reads that."""

    def change(model: onnx.ModelProto) -> None:
        zeros = zero or TensorProto(name="zero", data_type=TensorProto.INT8, raw_data=b"\0")
        model.graph.initializer.extend([zeros, helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1])])
        more = ["scale", zeros.name] if reader == "DequantizeLinear" else []
        model.graph.node.extend(
            [
                helper.make_node("QuantizeLinear", ["latents", scale, zeros.name], ["eight"], name="evil", **attributes),
                helper.make_node(reader, ["eight", *more], ["back"], name="reader"),
            ]
        )

    forge(bundle, change)
