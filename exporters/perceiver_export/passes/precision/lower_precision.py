"""float32 → float16 or bfloat16, node by node, with named islands that stay float32.

The precision lives in the graph, as strongly typed TensorRT networks want it: weights and arithmetic in the lower type, casts
where the type changes, float32 inputs and outputs, no operator with operands of two float types. `ISLANDS` says what stays
float32 and why; the result names the nodes of each.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

FLOAT = ir.DataType.FLOAT
LOWER = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
LARGEST = {ir.DataType.FLOAT16: 65504.0, ir.DataType.BFLOAT16: 3.3895e38}  # that the type holds
ISLANDS = {
    "layer normalization": "mean and variance are sums over all channels",
    "softmax": "exponentials and their sum over all keys",
    "positions": "sines of angles of thousands of radians: 11 bits or fewer are off by whole periods",
    "final scale": "nothing after the last product gains from a lower type, and the output is float32",
    "logarithm": "what a logarithm is of spans many powers of ten, such as the power in a band of a sound",
    "reduction": "a sum over a whole axis",
}
_PRODUCTS = {"MatMul", "Gemm", "Conv", "MultiHeadAttention"}
_LAYERS = {"LayerNormalization", "Softmax", "MultiHeadAttention"}
_REDUCTIONS = {"ReduceSum", "ReduceMean", "ReduceL2", "ReduceSumSquare", "GlobalAveragePool", "CumSum"}
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Sqrt", "Pow", "Sigmoid", "Tanh"}


class OverflowingWeights(ValueError):
    """Weights that the lower type cannot hold, by name."""


def lower_precision(model: ir.Model, precision: str) -> dict[str, list[str]]:
    """Lower a graph to one of `LOWER`; the names of the nodes that stay float32, by reason. Raises `OverflowingWeights`."""
    graph, lower = model.graph, LOWER[precision]
    islands = _islands(graph)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in [node for node in graph if node.op_type != "Shape"]:
        own = FLOAT if node in islands else lower
        for place, value in enumerate(node.inputs):
            if value is not None and _is_float(value) and value.dtype != own:
                node.replace_input_with(place, _in(graph, node, value, own, casts))
        if node.op_type == "Cast" and own != FLOAT and node.attributes["to"].as_int() == FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", own)
        for output in node.outputs:
            if _is_float(output):
                output.dtype = own
    for place, output in enumerate(graph.outputs):
        if _is_float(output) and output.dtype != FLOAT:
            graph.outputs[place] = _output(graph, output)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    named: dict[str, list[str]] = {}
    for node, island in islands.items():
        named.setdefault(f"{island}: {ISLANDS[island]}", []).append(node.name or "")
    return named


def _islands(graph: ir.Graph) -> dict[ir.Node, str]:
    """Which nodes stay float32, and by which of `ISLANDS`, in the graph's order."""
    nodes = list(graph)
    positions = _upstream(node for node in nodes if node.op_type in {"Sin", "Cos"})
    logarithms = _upstream_of_logarithms(nodes)
    before_products = _upstream(node for node in nodes if node.op_type in _PRODUCTS)
    islands: dict[ir.Node, str] = {}
    for node in nodes:
        if node.op_type == "Shape" or not any(_is_float(value) for value in (*node.inputs, *node.outputs) if value is not None):
            continue
        if node.op_type == "LayerNormalization":
            islands[node] = "layer normalization"
        elif node.op_type == "Softmax" or _only_feeds(node, "Softmax"):
            islands[node] = "softmax"
        elif node in positions:
            islands[node] = "positions"
        elif node in logarithms:
            islands[node] = "logarithm"
        elif node.op_type in _REDUCTIONS:
            islands[node] = "reduction"
        elif node.op_type in _ARITHMETIC and node not in before_products:
            islands[node] = "final scale"
    return islands


def _upstream(ends: Iterable[ir.Node]) -> set[ir.Node]:
    """The nodes given and all that they depend on."""
    found: set[ir.Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [producer for value in node.inputs if value is not None and (producer := value.producer()) is not None]
    return found


def _upstream_of_logarithms(nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """Logarithms and what they are computed from: of the inputs, as a spectrogram is. After layers, the logarithm alone."""
    found: set[ir.Node] = set()
    for node in nodes:
        if node.op_type == "Log":
            before = _upstream([node])
            found |= {node} if any(each.op_type in _LAYERS for each in before) else before
    return found


def _only_feeds(node: ir.Node, op_type: str) -> bool:
    """A mask's Where, whose result nothing but a softmax reads."""
    uses = list(node.outputs[0].uses())
    return node.op_type == "Where" and bool(uses) and all(use.node.op_type == op_type for use in uses)


def _is_float(value: ir.Value) -> bool:
    return value.dtype in (FLOAT, *LARGEST)


def _in(
    graph: ir.Graph, node: ir.Node, value: ir.Value, dtype: ir.DataType, known: dict[tuple[ir.Value, ir.DataType], ir.Value]
) -> ir.Value:
    """`value` in another float type: stored so if it is a weight, else cast right before `node`, its first reader."""
    if (value, dtype) in known:
        return known[value, dtype]
    name = f"{value.name}.{dtype.name.lower()}"
    if value.is_initializer():
        converted = _stored(value, dtype, name)
        graph.register_initializer(converted)
    else:
        cast = ir.node("Cast", [value], {"to": dtype}, name=f"{name}.cast")
        cast.metadata_props.update(node.metadata_props)
        graph.insert_before(node, cast)
        converted = cast.outputs[0]
        converted.name, converted.shape, converted.dtype = name, value.shape, dtype
    known[value, dtype] = converted
    return converted


def _stored(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
    assert value.const_value is not None  # checked by is_initializer
    array = value.const_value.numpy()
    largest = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
    if largest > LARGEST.get(dtype, largest):
        raise OverflowingWeights(
            f"{value.name} has values up to {largest:.3g}, {dtype.name.lower()} holds {LARGEST[dtype]:.6g}"
        )
    tensor = ir.tensor(array.astype(dtype.numpy()), dtype=dtype, name=name)
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor)


def _output(graph: ir.Graph, output: ir.Value) -> ir.Value:
    """A float32 output of the same name in the place of `output`."""
    cast = ir.node("Cast", [output], {"to": FLOAT}, name=f"{output.name}.cast")
    graph.append(cast)
    result = cast.outputs[0]
    result.name, result.shape, result.dtype = output.name, output.shape, FLOAT
    output.name = f"{output.name}.lower"
    return result
