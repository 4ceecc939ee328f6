"""What a bundle's ONNX graph may contain, checked before an engine sees it; and the bytes that the engine is given.

The engine never reads the file. It is given a canonical encoding, written here, of what was checked (protobuf.py), so there is
nothing in it that was not seen.

External data may name the bundle's weights file, within its size and of the tensor's size, and nothing else. Operators are
those listed: arithmetic, products, reductions and the moving of values, of ONNX itself, and a few of ONNX Runtime's. No control
flow, so every graph ends; no subgraphs, strings, files or chance; 8 bits only as quantization.py says. Inputs and outputs must
be the manifest's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from perceiver_runtime.bundle.integer_division import unsafe_division
from perceiver_runtime.bundle.manifest import GraphEntry, TensorSpec
from perceiver_runtime.bundle.onnx_schema import MODEL
from perceiver_runtime.bundle.protobuf import Message, read, write
from perceiver_runtime.bundle.quantization import unusual_quantization
from perceiver_runtime.common.errors import IntegrityError

MAX_GRAPH_BYTES = 64 << 20
MAX_RANK = 32
MAX_VALUES = 1 << 48  # of a tensor
MICROSOFT_OPERATORS = {"MultiHeadAttention", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "Gelu", "BiasGelu"}
_OPERATORS = """
Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Conv Cos CumSum DepthToSpace DequantizeLinear
Div DynamicQuantizeLinear Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
Greater GreaterOrEqual GroupNormalization Identity InstanceNormalization LayerNormalization Less LessOrEqual Log MatMul
Max MaxPool Mean Min Mod Mul Neg Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Shape Sigmoid Sign Sin Slice Softmax SpaceToDepth Split
Sqrt Squeeze Sub Sum Tanh Tile Transpose Trilu Unsqueeze Where
"""
OPERATORS = frozenset(_OPERATORS.split())
_DTYPE_NUMBERS = {"float32": 1, "int64": 7}
_DTYPE_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2, 17: 1}  # by element type, of those that bundles store
_ATTRIBUTE_TYPES = {1, 2, 3, 6, 7, 8}  # numbers and byte strings, one or many
_TYPED_DATA = (4, 5, 7, 10, 11)
_RAW_DATA, _EXTERNAL_DATA = 9, 13
_EXTERNAL = 1


@dataclass(frozen=True)
class CheckedGraph:
    """A graph that was checked. `content` is a ModelProto; its external data is in the file `weights`, if it has any."""

    name: str
    content: bytes
    weights: str | None

    def located(self, location: str, *, base: int = 0) -> bytes:
        """The ModelProto with its external data at another `location`, `base` bytes further on."""
        if self.weights in (None, location):
            return self.content
        model = read(MODEL, self.content)
        for tensor in model[7][0].get(5, []):
            for pair in tensor.get(_EXTERNAL_DATA, []):
                if pair[1] == ["location"]:
                    pair[2] = [location]
                elif pair[1] == ["offset"]:
                    pair[2] = [str(int(pair[2][0]) + base)]
        return write(MODEL, model)


@dataclass(frozen=True)
class GraphCheck:
    """A check of one file: its name for messages, and the bundle's files that hold weights, with their sizes."""

    name: str
    weight_files: Mapping[str, int]

    def model(self, data: bytes, entry: GraphEntry) -> CheckedGraph:
        """Check a ModelProto. Raises `IntegrityError`."""
        try:
            model = read(MODEL, data)
        except IntegrityError as error:
            raise IntegrityError(f"{self.name}: {error}") from error
        domains = [_first(opset, 1, "") or "ai.onnx" for opset in model.get(8, [])]
        for domain in domains:
            self._domain(domain)
        self._once(domains, "opsets")
        if 7 not in model:
            self._refuse("holds no graph")
        graph: Message = model[7][0]
        self._signature(graph.get(11, []), entry.inputs, "inputs")
        self._signature(graph.get(12, []), entry.outputs, "outputs")
        for node in graph.get(1, []):
            self._node(node)
        locations = {place for tensor in graph.get(5, []) if (place := self._tensor(tensor)) is not None}
        self._once([_first(tensor, 8, "") for tensor in graph.get(5, [])], "initializers")
        if len(locations) > 1:
            self._refuse("takes external data from more than one file")
        quantizes = unusual_quantization(graph)
        if quantizes is not None:
            self._refuse(f"quantizes in the node {quantizes[:40]!r} as no export does")
        divides = unsafe_division(graph, {spec.name: _DTYPE_NUMBERS[spec.dtype] for spec in entry.inputs})
        if divides is not None:
            self._refuse(f"divides integers in the node {divides[:40]!r}, perhaps by 0 or -1, which can end the process")
        return CheckedGraph(self.name, write(MODEL, model), next(iter(locations), None))

    def _node(self, node: Message) -> None:
        operator, domain = _first(node, 4, ""), _first(node, 7, "")
        self._domain(domain)
        if operator not in (MICROSOFT_OPERATORS if domain == "com.microsoft" else OPERATORS):
            self._refuse(f"uses the operator {domain or 'ai.onnx'}::{operator[:40]}")
        for attribute in node.get(5, []):
            if _first(attribute, 20, 0) not in _ATTRIBUTE_TYPES:
                self._refuse(f"has an attribute of the type {_first(attribute, 20, 0)}")
        self._once([_first(attribute, 1, "") for attribute in node.get(5, [])], "attributes")

    def _tensor(self, tensor: Message) -> str | None:
        """Check a tensor; the file that its data is in, unless it is in the graph."""
        dims, dtype = tensor.get(1, []), _first(tensor, 2, 0)
        if dtype not in _DTYPE_BYTES:
            self._refuse(f"has a tensor of the element type {dtype}")
        count = self._count(dims)
        location = _first(tensor, 14, 0)
        if location not in (0, _EXTERNAL):
            self._refuse(f"has a tensor whose data is at the place {location}")
        pairs = [(_first(pair, 1, ""), _first(pair, 2, "")) for pair in tensor.get(_EXTERNAL_DATA, [])]
        stored = [number for number in (_RAW_DATA, *_TYPED_DATA) if tensor.get(number)]
        if location == _EXTERNAL or pairs:
            if location != _EXTERNAL or stored:
                self._refuse("has a tensor whose data is both inside and outside")
            return self._external(pairs, count, dtype)
        if len(stored) > 1:
            self._refuse("has a tensor that stores its data twice")
        found, expected = 0, count
        if stored == [_RAW_DATA]:
            found, expected = len(tensor[_RAW_DATA][0]), count * _DTYPE_BYTES[dtype]
        elif stored:
            found = len(tensor[stored[0]])
        if found != expected:
            self._refuse(f"stores {found} where a tensor of {count} values of the element type {dtype} needs {expected}")
        return None

    def _count(self, dims: list[int]) -> int:
        count = 1
        if len(dims) > MAX_RANK:
            self._refuse(f"has a tensor of {len(dims)} dimensions")
        for size in dims:
            count *= size
            if size < 0 or count > MAX_VALUES:
                self._refuse(f"has a tensor of the shape {dims[:8]}")
        return count

    def _external(self, pairs: list[tuple[str, str]], count: int, dtype: int) -> str:
        place = dict(pairs)
        if len(place) != len(pairs) or set(place) != {"location", "offset", "length"}:
            self._refuse(f"has external data described by {sorted(key for key, _ in pairs)[:8]}")
        location = place["location"]
        if location not in self.weight_files:
            self._refuse(f"takes external data from {location[:100]!r}, which is not the bundle's weights file")
        offset, length = (self._natural(place[key]) for key in ("offset", "length"))
        if offset + length > self.weight_files[location]:
            self._refuse(f"takes bytes {offset} to {offset + length} of {location}, beyond its end")
        if length != count * _DTYPE_BYTES[dtype]:
            self._refuse(f"takes {length} bytes for {count} values of the element type {dtype}")
        return location

    def _natural(self, digits: str) -> int:
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            self._refuse(f"has external data at {digits[:40]!r}, which is no position")
        return int(digits)

    def _domain(self, domain: str) -> None:
        if domain not in ("", "ai.onnx", "com.microsoft"):
            self._refuse(f"uses operators of the domain {domain[:100]!r}")

    def _once(self, names: list[str], what: str) -> None:
        if len(set(names)) != len(names):
            self._refuse(f"has two {what} of one name")

    def _signature(self, values: list[Message], specs: tuple[TensorSpec, ...], what: str) -> None:
        found = [_value(value) for value in values]
        expected = [(spec.name, _DTYPE_NUMBERS[spec.dtype], len(spec.shape)) for spec in specs]
        if found != expected:
            self._refuse(f"has other {what} than the manifest says: {[name[:40] for name, _, _ in found][:8]}")

    def _refuse(self, problem: str) -> NoReturn:
        raise IntegrityError(f"{self.name} {problem}: do not use this bundle")


def _value(value: Message) -> tuple[str, int, int]:
    """Name, element type and rank of a ValueInfoProto; zeros where something is missing."""
    tensor: Message = _first(_first(value, 2, {}), 1, {})
    shape: Message | None = _first(tensor, 2, None)
    return _first(value, 1, ""), _first(tensor, 1, 0), -1 if shape is None else len(shape.get(1, []))


def _first(message: Message, number: int, default: Any) -> Any:
    """A singular field."""
    return message[number][0] if number in message else default
