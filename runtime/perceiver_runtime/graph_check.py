"""What a bundle's ONNX graph may contain, checked before ONNX Runtime sees a byte of it.

External data may name the bundle's weights file, within its size and of the tensor's size, and nothing else, wherever a tensor
can stand: initializers, attributes, sparse tensors. Operators are those listed: arithmetic, products, reductions and the moving
of values, of ONNX itself, and a few of ONNX Runtime's. No control flow, so every graph ends; no subgraphs, strings, files or
chance. A message field that is not on the list below is refused: local functions, training information, whatever comes next.
Inputs and outputs must be the manifest's. Field numbers are onnx.proto's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from perceiver_runtime.errors import IntegrityError
from perceiver_runtime.manifest import GraphEntry, TensorSpec
from perceiver_runtime.protobuf import Value, fields, message, numbers, text

MAX_GRAPH_BYTES = 64 << 20
MICROSOFT_OPERATORS = {"MultiHeadAttention", "DynamicQuantizeMatMul", "Gelu", "BiasGelu"}
_OPERATORS = """
Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Conv Cos CumSum DepthToSpace Div Equal Erf Exp
Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Greater GreaterOrEqual
GroupNormalization Identity InstanceNormalization LayerNormalization Less LessOrEqual Log MatMul Max MaxPool Mean Min
Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize Round Shape Sigmoid Sign Sin Slice Softmax SpaceToDepth Split Sqrt Squeeze Sub Sum
Tanh Tile Transpose Trilu Unsqueeze Where
"""
OPERATORS = frozenset(_OPERATORS.split())
_DTYPE_NUMBERS = {"float32": 1, "int64": 7}
_DTYPE_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}  # by element type, of those that bundles store
_EXTERNAL = 1

# Fields that are read here or harmless, by message.
_MODEL = {1, 2, 3, 4, 5, 6, 7, 8, 14}
_GRAPH = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_NODE = {1, 2, 3, 4, 5, 6, 7, 9}
_ATTRIBUTE = {1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20, 22, 23}
_TENSOR = {1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16}
_SPARSE = {1, 2, 3}


@dataclass(frozen=True)
class GraphCheck:
    """A check of one file: its name for messages, and the bundle's files that hold weights, with their sizes."""

    name: str
    weight_files: dict[str, int]

    def model(self, data: bytes, entry: GraphEntry) -> None:
        """Check a ModelProto. Raises `IntegrityError`."""
        graphs = []
        for number, value in self._fields(data, _MODEL, "model"):
            if number == 7:
                graphs.append(message(value))
            elif number == 8:
                self._domain(next((text(v) for n, v in fields(message(value)) if n == 1), ""))
        if len(graphs) != 1:
            self._refuse(f"holds {len(graphs)} graphs instead of one")
        self._graph(graphs[0])
        self._signature(graphs[0], 11, entry.inputs, "inputs")
        self._signature(graphs[0], 12, entry.outputs, "outputs")

    def _graph(self, data: memoryview) -> None:
        for number, value in self._fields(data, _GRAPH, "graph"):
            if number == 1:
                self._node(message(value))
            elif number == 5:
                self._tensor(message(value))
            elif number == 15:
                self._sparse(message(value))

    def _node(self, data: memoryview) -> None:
        operator = domain = ""
        for number, value in self._fields(data, _NODE, "node"):
            if number == 4:
                operator = text(value)
            elif number == 7:
                domain = text(value)
            elif number == 5:
                self._attribute(message(value))
        self._domain(domain)
        if operator not in (MICROSOFT_OPERATORS if domain == "com.microsoft" else OPERATORS):
            self._refuse(f"uses the operator {domain or 'ai.onnx'}::{operator[:40]}")

    def _attribute(self, data: memoryview) -> None:
        for number, value in self._fields(data, _ATTRIBUTE, "attribute"):
            if number in (5, 10):
                self._tensor(message(value))
            elif number in (22, 23):
                self._sparse(message(value))

    def _sparse(self, data: memoryview) -> None:
        for number, value in self._fields(data, _SPARSE, "sparse tensor"):
            if number in (1, 2):
                self._tensor(message(value))

    def _tensor(self, data: memoryview) -> None:
        entries: list[tuple[str, str]] = []
        external, dtype, count = False, 0, 1
        for number, value in self._fields(data, _TENSOR, "tensor"):
            if number == 1:
                count *= math.prod(numbers(value))
            elif number == 2 and isinstance(value, int):
                dtype = value
            elif number == 13:
                pair = {n: text(v) for n, v in fields(message(value))}
                entries.append((pair.get(1, ""), pair.get(2, "")))
            elif number == 14:
                external = value == _EXTERNAL
        if not entries and not external:
            return
        place = dict(entries)
        if len(place) != len(entries) or set(place) != {"location", "offset", "length"}:
            self._refuse(f"has external data described by {sorted(key for key, _ in entries)}")
        if place["location"] not in self.weight_files:
            self._refuse(f"takes external data from {place['location']!r}, which is not the bundle's weights file")
        offset, length = (self._natural(place[key]) for key in ("offset", "length"))
        if offset + length > self.weight_files[place["location"]]:
            self._refuse(f"takes bytes {offset} to {offset + length} of {place['location']}, beyond its end")
        if length != count * _DTYPE_BYTES.get(dtype, -1):
            self._refuse(f"takes {length} bytes for {count} values of the element type {dtype}")

    def _natural(self, digits: str) -> int:
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            self._refuse(f"has external data at {digits[:40]!r}, which is no position")
        return int(digits)

    def _domain(self, domain: str) -> None:
        if domain not in ("", "ai.onnx", "com.microsoft"):
            self._refuse(f"uses operators of the domain {domain!r}")

    def _signature(self, graph: memoryview, field: int, specs: tuple[TensorSpec, ...], what: str) -> None:
        found = [_value_info(message(value)) for number, value in fields(graph) if number == field]
        expected = [(spec.name, _DTYPE_NUMBERS[spec.dtype], len(spec.shape)) for spec in specs]
        if found != expected:
            self._refuse(f"has other {what} than the manifest says: {[name for name, _, _ in found]}")

    def _fields(self, data: bytes | memoryview, allowed: set[int], what: str) -> list[tuple[int, Value]]:
        found = list(fields(memoryview(data)))
        for number, _ in found:
            if number not in allowed:
                self._refuse(f"has the field {number} in a {what}, which no bundle uses")
        return found

    def _refuse(self, problem: str) -> NoReturn:
        raise IntegrityError(f"{self.name} {problem}: do not use this bundle")


def _value_info(data: memoryview) -> tuple[str, int, int]:
    """Name, element type and rank of a ValueInfoProto that is a tensor; zeros where something is missing."""
    name, dtype, rank = "", 0, -1
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            for kind, tensor in fields(message(value)):
                for part, content in fields(message(tensor)) if kind == 1 else ():
                    if part == 1 and isinstance(content, int):
                        dtype = content
                    elif part == 2:
                        rank = sum(1 for dimension, _ in fields(message(content)) if dimension == 1)
    return name, dtype, rank
