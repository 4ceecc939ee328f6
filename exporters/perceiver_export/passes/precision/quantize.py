"""Linear layers → int8 products for CPUs: weights of one scale per output channel, activations quantized as they come.

`com.microsoft::DynamicQuantizeMatMul` quantizes its input to uint8 over the range that it finds, multiplies integers and scales
back to float32, the bias added. Weights are symmetric: w ≈ q·s with s = max|w|/127 of the channel. Attention products,
LayerNorm, softmax, positions and small layers stay float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_export.passes.patterns import Linear, drop_unread, is_stored
from perceiver_export.passes.precision.linear_layers import Magnitudes, linear_layers


def quantize(model: ir.Model, layers: Magnitudes) -> int:
    """Quantize the linear layers named; the number quantized."""
    graph = model.graph
    count = 0
    known: dict[str, tuple[ir.Value, ir.Value]] = {}
    for layer in [each.linear for each in linear_layers(model) if each.name in layers]:
        weight, bias = layer.product.inputs[1], _bias(layer)
        assert weight is not None  # a linear layer has one
        if weight.name not in known:
            known[weight.name or ""] = stored_integers(graph, weight.name or "", layer.weight)
        quantized = ir.node(
            "DynamicQuantizeMatMul",
            [layer.x, *known[weight.name or ""], None, bias],
            domain="com.microsoft",
            name=layer.product.name,
        )
        quantized.metadata_props.update(layer.product.metadata_props)
        output, result = layer.y, quantized.outputs[0]
        result.shape, result.type = output.shape, output.type
        name = output.name
        ir.convenience.replace_nodes_and_values(
            graph, layer.addition, [layer.product, layer.addition], [quantized], [output], [result]
        )
        result.name = name
        count += 1
    drop_unread(graph)
    if count:
        model.opset_imports["com.microsoft"] = 1
    return count


def _bias(layer: Linear) -> ir.Value:
    return next(value for value in layer.addition.inputs if value is not None and is_stored(value))


def stored_integers(graph: ir.Graph, name: str, weight: NDArray[np.float64]) -> tuple[ir.Value, ir.Value]:
    """int8 (in, out) and float32 scales (out,)."""
    scales = np.maximum(np.abs(weight).max(axis=0), 1e-30) / 127
    integers = np.rint(weight / scales).astype(np.int8)
    values = []
    for what, array in (("int8", integers), ("scale", scales.astype(np.float32))):
        tensor = ir.tensor(array, name=f"{name}.{what}")
        value = ir.Value(name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
        values.append(value)
    return values[0], values[1]
