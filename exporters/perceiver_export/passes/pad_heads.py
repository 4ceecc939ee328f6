"""Heads of queries and keys of another size than those of values → all of one size, padded with zeros.

TensorRT makes one kernel of an attention only where the two are equal: the language model's 32 and 160 become 160 and 160.
Exact: zeros add nothing to a product, and the scale stays that of the size before. The padding is in the stored weights of the
linear layers that make queries and keys; nothing applies where they are made otherwise, or are larger than the values'.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_export.attention_shapes import FUSED_SIZES
from perceiver_export.passes.lower_attention_primitive import attention_nodes


def pad_heads(model: ir.Model) -> int:
    """Pad every attention that it makes fusable; the number padded."""
    count = 0
    for node in attention_nodes(model):
        heads = node.attributes["num_heads"].as_int()
        widths = [_width(value) for value in node.inputs[:3]]
        if None in widths:
            continue
        qk_size, v_size = (int(widths[0] or 0) // heads, int(widths[2] or 0) // heads)
        if qk_size >= v_size or qk_size < FUSED_SIZES.start or v_size not in FUSED_SIZES:
            continue
        linears = [_linear(node.inputs[place]) for place in (0, 1)]
        if any(linear is None for linear in linears):
            continue
        for linear in linears:
            assert linear is not None  # said above
            product, addition = linear
            for owner, place in ((product, 1), (addition, _bias_place(addition))):
                owner.replace_input_with(place, _padded(model.graph, owner.inputs[place], heads, v_size))
            for output in (product.outputs[0], addition.outputs[0]):
                assert output.shape is not None
                output.shape = ir.Shape([*list(output.shape)[:-1], heads * v_size])
        node.attributes["scale"] = ir.AttrFloat32("scale", 1 / math.sqrt(qk_size))
        count += 1
    return count


def _width(value: ir.Value | None) -> int | None:
    if value is None or value.shape is None or not isinstance(value.shape[-1], int):
        return None
    return value.shape[-1]


def _linear(value: ir.Value | None) -> tuple[ir.Node, ir.Node] | None:
    """The MatMul with a stored matrix and the Add of a stored bias that make `value`, which nothing else reads."""
    addition = value.producer() if value is not None else None
    if addition is None or addition.op_type != "Add" or len(list(addition.outputs[0].uses())) != 1:
        return None
    bias = addition.inputs[_bias_place(addition)]
    product_value = addition.inputs[1 - _bias_place(addition)]
    product = product_value.producer() if product_value is not None else None
    stored = bias is not None and bias.is_initializer()
    if product is None or product.op_type != "MatMul" or not stored or len(list(product.outputs[0].uses())) != 1:
        return None
    return (product, addition) if product.inputs[1] is not None and product.inputs[1].is_initializer() else None


def _bias_place(addition: ir.Node) -> int:
    return 0 if addition.inputs[0] is not None and addition.inputs[0].is_initializer() else 1


def _padded(graph: ir.Graph, value: ir.Value | None, heads: int, size: int) -> ir.Value:
    """A stored (..., heads·c) as (..., heads·size), each head's end zero."""
    assert value is not None  # said by _linear
    assert value.const_value is not None
    array: NDArray[np.float32] = value.const_value.numpy()
    apart = array.reshape(*array.shape[:-1], heads, -1)
    padding = [(0, 0)] * (apart.ndim - 1) + [(0, size - apart.shape[-1])]
    result = np.pad(apart, padding).reshape(*array.shape[:-1], heads * size)
    name = f"{value.name}.padded"
    if name not in graph.initializers:
        tensor = ir.tensor(result, name=name)
        graph.register_initializer(
            ir.Value(name=name, shape=ir.Shape(result.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        )
        if len(list(value.uses())) <= 1:
            graph.initializers.pop(value.name or "", None)
    return graph.initializers[name]
