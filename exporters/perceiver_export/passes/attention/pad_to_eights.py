"""Heads whose size is no multiple of 8 → padded with zeros to the next one, for ONNX Runtime's CUDA provider.

Its kernels that never store a score matrix take heads in multiples of 8 only: flash attention up to 256 channels, one size for
queries, keys and values; memory-efficient attention up to 1024 (`contrib_ops/cuda/bert` in its source). Flow's 322 channels
become 328, images' 261 become 264; else scores of 2048 × 182,528 are stored. Exact: zeros add nothing to a product, the scale
stays that of the size before, and what comes of padded values is zero and read by zero weights.

The padding is in the stored weights of the layers around an attention; queries, keys or values that no layer makes, as after
fold_kv_projections.py, get a Pad, where the attention has one head.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_export.passes.attention.decompose_attention import attention_nodes, attention_scale
from perceiver_export.passes.patterns import linear, linear_after, width

MULTIPLE = 8


def pad_to_eights(model: ir.Model) -> int:
    """Pad every attention without a mask that needs it; the number padded."""
    return sum(_pad(model.graph, node) for node in attention_nodes(model) if len(node.inputs) == 3)


def _pad(graph: ir.Graph, node: ir.Node) -> bool:
    heads = node.attributes["num_heads"].as_int()
    widths = [width(value) for value in node.inputs]
    if any(each is None for each in widths) or all(each // heads % MULTIPLE == 0 for each in widths if each is not None):
        return False
    sizes = [-(-(each or 0) // heads // MULTIPLE) * MULTIPLE for each in widths]  # of a head
    layers = [linear(value) for value in node.inputs]
    after = linear_after(node.outputs[0])
    if heads > 1 and (None in layers or after is None):
        return False
    node.attributes["scale"] = ir.AttrFloat32("scale", attention_scale(node))
    old_width, padded = widths[2] or 0, heads * sizes[2]
    added: dict[ir.Value, ir.Value] = {}  # keys may be the values too
    for place, (layer, size) in enumerate(zip(layers, sizes)):
        value = node.inputs[place]
        assert value is not None  # an attention has three inputs
        if layer is not None:
            layer.replace(_padded(layer.weight, heads, size), _padded(layer.bias, heads, size), "padded")
        elif width(value) != size:
            if value not in added:
                added[value] = _pad_value(graph, node, value, size)
            node.replace_input_with(place, added[value])
    output = node.outputs[0]
    assert output.shape is not None  # a traced attention has one
    output.shape = ir.Shape([*list(output.shape)[:-1], padded])
    if after is not None:
        after.replace(_padded(after.weight.T, heads, sizes[2]).T, after.bias, "padded")
    elif padded != old_width:
        _cut(graph, node, old_width)
    return True


def _padded(array: NDArray[np.float64], heads: int, size: int) -> NDArray[np.float64]:
    """(..., heads·c) as (..., heads·size), each head's end zero."""
    apart = array.reshape(*array.shape[:-1], heads, -1)
    padding = [(0, 0)] * (apart.ndim - 1) + [(0, size - apart.shape[-1])]
    return np.pad(apart, padding).reshape(*array.shape[:-1], heads * size)


def _pad_value(graph: ir.Graph, node: ir.Node, value: ir.Value, size: int) -> ir.Value:
    """(B, M, c) as (B, M, size), before a node that reads it."""
    old = width(value) or 0
    return _inserted(graph, node, "Pad", value, size, before=True, pads=np.array([0, 0, 0, 0, 0, size - old]))


def _cut(graph: ir.Graph, node: ir.Node, size: int) -> None:
    """The first `size` channels of an attention's output, for all that read it."""
    output = node.outputs[0]
    readers = list(output.uses())  # before there is one more
    bounds = {"starts": np.array([0]), "ends": np.array([size]), "axes": np.array([2])}
    cut = _inserted(graph, node, "Slice", output, size, before=False, **bounds)
    for use in readers:
        use.node.replace_input_with(use.idx, cut)


def _inserted(
    graph: ir.Graph, node: ir.Node, kind: str, value: ir.Value, size: int, *, before: bool, **numbers: NDArray[np.int64]
) -> ir.Value:
    """What a new node beside `node` makes of (B, M, c), with `size` channels."""
    constants = []
    for what, array in numbers.items():
        name = f"{node.name}.{what}.{len(graph.initializers)}"
        tensor = ir.tensor(array.astype(np.int64), name=name)
        constant = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(constant)
        constants.append(constant)
    added = ir.node(kind, [value, *constants])
    added.metadata_props.update(node.metadata_props)
    result = added.outputs[0]
    result.type = None if value.dtype is None else ir.TensorType(value.dtype)
    result.shape = None if value.shape is None else ir.Shape([*list(value.shape)[:-1], size])
    if before:
        graph.insert_before(node, added)
    else:
        graph.insert_after(node, added)
    return result
