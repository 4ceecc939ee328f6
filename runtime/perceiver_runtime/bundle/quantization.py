"""Quantization in a graph, only as exports write it: symmetric, to int8 or float8 (E4M3), by numbers that are stored.

A QuantizeLinear has a stored scale and a stored zero point, which is one zero of the 8-bit type. What it gives, and every
tensor of float8, is for a DequantizeLinear alone, whose scale is stored too. So engines meet 8-bit values nowhere else, and no
attribute asks for blocks or other types.
"""

from __future__ import annotations

from collections.abc import Mapping

from perceiver_runtime.bundle.protobuf import Message

INT8, FLOAT8 = 3, 17  # element types
_SCALES = {1, 10, 16}  # float32, float16, bfloat16
_READERS = {"QuantizeLinear": 3, "DequantizeLinear": 2}  # and the least inputs
_ZERO_POINT = 2  # the place of that input


def unusual_quantization(graph: Message) -> str | None:
    """The name of a node that quantizes, or uses 8 bits, in another way, if there is one."""
    stored: dict[str, Message] = {tensor.get(8, [""])[0]: tensor for tensor in graph.get(5, [])}
    eight_bits = {name for name, tensor in stored.items() if tensor.get(2) == [FLOAT8]}
    for node in graph.get(1, []):
        kind, inputs = node.get(4, [""])[0], node.get(1, [])
        right = _right(kind, node, stored, eight_bits) if kind in _READERS else not eight_bits & set(inputs)
        if not right:
            return str(node.get(3, [kind])[0])
        if kind == "QuantizeLinear":
            eight_bits |= set(node.get(2, []))
    return None


def _right(kind: str, node: Message, stored: Mapping[str, Message], eight_bits: set[str]) -> bool:
    inputs = node.get(1, [])
    if not _READERS[kind] <= len(inputs) <= 3 or any(attribute.get(1) != ["axis"] for attribute in node.get(5, [])):
        return False
    source, scale = inputs[0], stored.get(inputs[1])
    if scale is None or scale.get(2, [0])[0] not in _SCALES:
        return False
    if len(inputs) > _ZERO_POINT and not _is_zero(stored.get(inputs[_ZERO_POINT])):
        return False
    if kind == "QuantizeLinear":
        return source not in eight_bits
    return source in eight_bits or (source in stored and stored[source].get(2) == [INT8])


def _is_zero(tensor: Message | None) -> bool:
    """Whether it is one zero of an 8-bit type, in the graph itself."""
    return tensor is not None and tensor.get(2, [0])[0] in (INT8, FLOAT8) and not tensor.get(1) and tensor.get(9) == [b"\0"]
