"""Quantization in a graph, only as exports write it.

A QuantizeLinear has a stored scale and zero point, which is one zero of int8 or float8 (E4M3). What it gives, and every
tensor of float8, is for a DequantizeLinear, whose scale is stored too; or for a MatMulIntegerToFloat, transposed maybe. What a
DynamicQuantizeLinear gives is for a MatMulIntegerToFloat alone. So engines meet 8-bit values nowhere else, and no attribute
asks for blocks or other types.
"""

from __future__ import annotations

from collections.abc import Mapping

from perceiver_runtime.bundle.protobuf import Message

INT8, FLOAT8 = 3, 17  # element types
_SCALES = {1, 10, 16}  # float32, float16, bfloat16
_READERS = {"QuantizeLinear": 3, "DequantizeLinear": 2}  # and the least inputs
_ZERO_POINT = 2  # the place of that input
_PRODUCT, _PRODUCT_INPUTS = "MatMulIntegerToFloat", 5  # integers, symmetric ones, two scales, a zero point of the first


def unusual_quantization(graph: Message) -> str | None:
    """The name of a node that quantizes, or uses 8 bits, in another way, if there is one."""
    stored: dict[str, Message] = {tensor.get(8, [""])[0]: tensor for tensor in graph.get(5, [])}
    static = {name for name, tensor in stored.items() if tensor.get(2) == [FLOAT8]}
    dynamic: set[str] = set()  # integers, and their zero points
    for node in graph.get(1, []):
        kind, inputs, outputs = node.get(4, [""])[0], node.get(1, []), node.get(2, [])
        if kind in _READERS:
            right = _right(kind, node, stored, static) and not dynamic & set(inputs)
        elif kind == _PRODUCT:
            right = len(inputs) == _PRODUCT_INPUTS and inputs[0] in dynamic and inputs[1] in static and inputs[4] in dynamic
        else:
            right = not dynamic & set(inputs) and (kind == "Transpose" or not static & set(inputs))
        if not right:
            return str(node.get(3, [kind])[0])
        if kind == "QuantizeLinear" or (kind == "Transpose" and static & set(inputs)):
            static |= set(outputs)
        elif kind == "DynamicQuantizeLinear":
            dynamic |= {*outputs[:1], *outputs[2:]}
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
