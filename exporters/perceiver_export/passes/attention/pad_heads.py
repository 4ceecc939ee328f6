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

from perceiver_export.analysis.attention_shapes import FUSED_SIZES
from perceiver_export.passes.attention.decompose_attention import attention_nodes
from perceiver_export.passes.patterns import linear, width


def pad_heads(model: ir.Model) -> int:
    """Pad every attention that it makes fusable; the number padded."""
    count = 0
    for node in attention_nodes(model):
        heads = node.attributes["num_heads"].as_int()
        qk_size, v_size = ((width(node.inputs[place]) or 0) // heads for place in (0, 2))
        if qk_size >= v_size or qk_size < FUSED_SIZES.start or v_size not in FUSED_SIZES:
            continue
        queries, keys = linear(node.inputs[0]), linear(node.inputs[1])
        if queries is None or keys is None:
            continue
        for layer in (queries, keys):
            layer.replace(_padded(layer.weight, heads, v_size), _padded(layer.bias, heads, v_size), "padded")
        node.attributes["scale"] = ir.AttrFloat32("scale", 1 / math.sqrt(qk_size))
        count += 1
    return count


def _padded(array: NDArray[np.float64], heads: int, size: int) -> NDArray[np.float64]:
    """(..., heads·c) as (..., heads·size), each head's end zero."""
    apart = array.reshape(*array.shape[:-1], heads, -1)
    padding = [(0, 0)] * (apart.ndim - 1) + [(0, size - apart.shape[-1])]
    return np.pad(apart, padding).reshape(*array.shape[:-1], heads * size)
