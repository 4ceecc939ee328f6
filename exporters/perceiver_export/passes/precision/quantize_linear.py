"""Linear layers → QuantizeLinear and DequantizeLinear around their inputs, in int8 or float8 (E4M3), for TensorRT.

TensorRT makes one 8-bit product of DequantizeLinear(QuantizeLinear(x)) and DequantizeLinear(weight). All is symmetric: x ≈ q·s
with one scale for a tensor, from its calibrated magnitude, and w ≈ q·s with one scale for each output channel, the weights
stored in 8 bits. What is beyond the magnitude saturates. Layers applied to the same values share their quantization. Scales are
numbers of float16, which the rest of the graph is lowered to afterwards; attention products and softmax stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_export.passes.patterns import drop_unread
from perceiver_export.passes.precision.linear_layers import Magnitudes, linear_layers

OPSET = 19  # quantizes float16, and has float8; what opset 18 has means the same in it
_SMALLEST = 2.0**-24  # above zero in float16


@dataclass(frozen=True)
class Format:
    """What 8 bits hold: numbers up to `largest`."""

    dtype: ir.DataType
    largest: float

    def rounded(self, array: NDArray[np.floating]) -> NDArray[np.generic]:
        """Nearest numbers; beyond the largest, that."""
        clipped = np.clip(array, -self.largest, self.largest)
        whole = np.rint(clipped) if self.dtype == ir.DataType.INT8 else clipped
        result: NDArray[np.generic] = whole.astype(np.float32).astype(self.dtype.numpy())
        return result


FORMATS = {"int8": Format(ir.DataType.INT8, 127.0), "fp8": Format(ir.DataType.FLOAT8E4M3FN, 448.0)}


def quantize_linear(model: ir.Model, layers: Magnitudes, precision: str) -> int:
    """Quantize the linear layers named, to one of `FORMATS`; the number quantized."""
    graph, form = model.graph, FORMATS[precision]
    chosen = [layer for layer in linear_layers(model) if layer.name in layers]
    quantized: dict[ir.Value, ir.Value] = {}
    stored: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
    for layer in chosen:
        product, x, weight = layer.linear.product, layer.linear.x, layer.linear.product.inputs[1]
        assert weight is not None  # a linear layer has one
        if x not in quantized:
            quantized[x] = _there_and_back(graph, product, x, layers[layer.name], form)
        if weight not in stored:
            stored[weight] = _stored_weight(graph, weight.name or "", layer.linear.weight, form)
        back = _node("DequantizeLinear", [*stored[weight]], product, weight, axis=1)
        graph.insert_before(product, back)
        product.replace_input_with(0, quantized[x])
        product.replace_input_with(1, back.outputs[0])
    drop_unread(graph)
    if chosen:
        model.opset_imports[""] = OPSET
    return len(chosen)


def scales(magnitudes: NDArray[np.floating], form: Format) -> NDArray[np.float32]:
    """The least float16 numbers, as float32, that reach these magnitudes."""
    wanted = np.maximum(np.asarray(magnitudes, np.float64) / form.largest, _SMALLEST)
    near = wanted.astype(np.float16)
    enough = np.where(near < wanted, np.nextafter(near, np.float16(np.inf)), near)
    return enough.astype(np.float32)


def _there_and_back(graph: ir.Graph, before: ir.Node, x: ir.Value, magnitude: float, form: Format) -> ir.Value:
    scale = constant(graph, f"{x.name}.scale", scales(np.array(magnitude), form))
    zero = constant(graph, f"{x.name}.zero", np.zeros((), form.dtype.numpy()))
    there = _node("QuantizeLinear", [x, scale, zero], before, x)
    there.outputs[0].dtype = form.dtype
    back = _node("DequantizeLinear", [there.outputs[0], scale, zero], before, x)
    graph.insert_before(before, [there, back])
    return back.outputs[0]


def _stored_weight(graph: ir.Graph, name: str, weight: NDArray[np.float64], form: Format) -> tuple[ir.Value, ir.Value]:
    """8 bits (in, out) and scales (out,)."""
    each = scales(np.abs(weight).max(axis=0), form)
    return constant(graph, f"{name}.{form.dtype.name.lower()}", form.rounded(weight / each)), constant(
        graph, f"{name}.scale", each
    )


def _node(kind: str, inputs: list[ir.Value], beside: ir.Node, like: ir.Value, **attributes: int) -> ir.Node:
    node = ir.node(kind, inputs, attributes)
    node.metadata_props.update(beside.metadata_props)
    node.outputs[0].shape, node.outputs[0].dtype = like.shape, ir.DataType.FLOAT
    return node


def constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """A stored tensor of the graph."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
