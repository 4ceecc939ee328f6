"""Quantization in a graph, only as exports write it.

For TensorRT, symmetric, to int8 or float8 (E4M3), by numbers that are stored: a QuantizeLinear has a stored scale and a stored
zero point, which is one zero of the 8-bit type. What it gives, and every tensor of float8, is for a DequantizeLinear alone,
whose scale is stored too. For CPUs, by the range of each input: what a DynamicQuantizeLinear gives is for a
MatMulIntegerToFloat, transposed maybe. So engines meet 8-bit values nowhere else, and no attribute asks for blocks or other
types.
"""

from __future__ import annotations

from collections.abc import Mapping

from perceiver_runtime.bundle.protobuf import Message

INT8, FLOAT8 = 3, 17  # element types
_SCALES = {1, 10, 16}  # float32, float16, bfloat16
_READERS = {"QuantizeLinear": 3, "DequantizeLinear": 2}  # and the least inputs
_ZERO_POINT = 2  # the place of that input
_INTEGER_INPUTS, _INTEGERS = 6, (0, 1, 4, 5)  # of a MatMulIntegerToFloat; those that are not scales


def unusual_quantization(graph: Message) -> str | None:
    """The name of a node that quantizes, or uses 8 bits, in another way, if there is one."""
    stored: dict[str, Message] = {tensor.get(8, [""])[0]: tensor for tensor in graph.get(5, [])}
    static = {name for name, tensor in stored.items() if tensor.get(2) == [FLOAT8]}
    dynamic: set[str] = set()  # integers, and their zero points
    for node in graph.get(1, []):
        kind, inputs, outputs = node.get(4, [""])[0], node.get(1, []), node.get(2, [])
        if kind in _READERS:
            right = _right(kind, node, stored, static) and not dynamic & set(inputs)
        elif kind == "MatMulIntegerToFloat":
            right = len(inputs) == _INTEGER_INPUTS and {inputs[place] for place in _INTEGERS} <= dynamic
        else:
            right = not static & set(inputs) and (kind == "Transpose" or not dynamic & set(inputs))
        if not right:
            return str(node.get(3, [kind])[0])
        if kind == "QuantizeLinear":
            static |= set(outputs)
        elif kind == "DynamicQuantizeLinear":
            dynamic |= {*outputs[:1], *outputs[2:]}
        elif kind == "Transpose" and dynamic & set(inputs):
            dynamic |= set(outputs)
    return None


def _right(kind: str, node: Message, stored: Mapping[str, Message], static: set[str]) -> bool:
    inputs = node.get(1, [])
    if not _READERS[kind] <= len(inputs) <= 3 or any(attribute.get(1) != ["axis"] for attribute in node.get(5, [])):
        return False
    source, scale = inputs[0], stored.get(inputs[1])
    if scale is None or scale.get(2, [0])[0] not in _SCALES:
        return False
    if len(inputs) > _ZERO_POINT and not _is_zero(stored.get(inputs[_ZERO_POINT])):
        return False
    if kind == "QuantizeLinear":
        return source not in static
    return source in static or (source in stored and stored[source].get(2) == [INT8])


def _is_zero(tensor: Message | None) -> bool:
    """Whether it is one zero of an 8-bit type, in the graph itself."""
    return tensor is not None and tensor.get(2, [0])[0] in (INT8, FLOAT8) and not tensor.get(1) and tensor.get(9) == [b"\0"]
