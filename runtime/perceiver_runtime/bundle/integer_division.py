"""Integer division that would kill the process: by zero, or of the smallest integer by -1.

Processors stop a program for either, and engines do not ask first. So an integer Div or Mod has to divide by numbers that the
graph itself holds, none of them 0 or -1. Which tensors are integers follows from the inputs and initializers, node by node.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from perceiver_runtime.bundle.protobuf import Message

FLOATS = frozenset({1, 10, 11, 16})  # element types: float32, float16, float64, bfloat16
BOOL = 9
_INTEGERS = {2: "B", 3: "b", 6: "i", 7: "q"}  # by element type, as struct names them
_COMPARISONS = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"})
_FLOAT, _INTEGER = 1, 7


def unsafe_division(graph: Message, inputs: Mapping[str, int]) -> str | None:
    """The name of a node that may divide so, if there is one. `inputs` are the graph's, with their element types."""
    initializers = {tensor.get(8, [""])[0]: tensor for tensor in graph.get(5, [])}
    types = {name: tensor.get(2, [_INTEGER])[0] for name, tensor in initializers.items()} | dict(inputs)
    for node in graph.get(1, []):
        operator, names = node.get(4, [""])[0], node.get(1, [])
        kind = _kind(node, operator, [types.get(name, _INTEGER) for name in names])
        if operator in ("Div", "Mod") and any(types.get(name, _INTEGER) not in FLOATS for name in names):
            constant = initializers.get(names[1]) if len(names) > 1 and names[1] not in inputs else None
            if constant is None or not _safe(constant):
                return str(node.get(3, [operator])[0])
        for place, name in enumerate(node.get(2, [])):
            types[name] = _INTEGER if operator == "MaxPool" and place else kind
    return None


def _kind(node: Message, operator: str, inputs: list[int]) -> int:
    """The element type of what a node gives."""
    if operator == "Cast":
        return next((a[3][0] for a in node.get(5, []) if a.get(1) == ["to"] and 3 in a), _INTEGER)
    if operator in ("Shape", "ArgMax"):
        return _INTEGER
    if operator in _COMPARISONS:
        return BOOL
    if operator in ("Where", "DequantizeLinear"):  # of two values, or of a scale
        return inputs[1] if len(inputs) > 1 else _INTEGER
    if operator in ("QuantizeLinear", "DynamicQuantizeLinear"):
        return _INTEGER
    if operator == "MatMulIntegerToFloat":
        return _FLOAT
    return inputs[0] if inputs else _INTEGER


def _safe(tensor: Message) -> bool:
    """Whether an integer tensor is in the graph itself and holds neither 0 nor -1."""
    code = _INTEGERS.get(tensor.get(2, [0])[0])
    if code is None or 13 in tensor:
        return False
    raw = bytes(tensor.get(9, [b""])[0])
    size = struct.calcsize(f"<{code}")
    values = struct.unpack(f"<{len(raw) // size}{code}", raw[: len(raw) // size * size]) if raw else ()
    return not {0, -1} & {*values, *tensor.get(5, []), *tensor.get(7, [])}
