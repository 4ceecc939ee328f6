"""`perceiver::Attention` → MatMul, Softmax, MatMul of ONNX itself, with the score matrix stored.

For attention with a mask. With a key padding mask, ONNX Runtime 1.20's fused operator corrupts memory (the process aborts;
seen with its arena off in 1.20.0 and 1.20.1, not in 1.21.1, 1.22.1, 1.23.2 and 1.24.4), and the mask turns its flash kernel
off, so nothing is lost: a text's score matrix has heads × latents × bytes entries. Masked scores become -65504, which float16
can hold too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from perceiver_export.attention_node import DOMAIN, OP_TYPE

_MASKED = -65504.0


def lower_attention_primitive(model: ir.Model, *, masked_only: bool = False) -> int:
    """Replace every attention node, or those with a mask; the number replaced."""
    count = 0
    for node in list(model.graph):
        if (node.domain, node.op_type) != (DOMAIN, OP_TYPE) or (masked_only and len(node.inputs) < 4):
            continue
        nodes = list(_nodes(model.graph, node))
        output, result = node.outputs[0], nodes[-1].outputs[0]
        for each in nodes:
            each.metadata_props.update(node.metadata_props)
        result.shape, result.type = output.shape, output.type
        name = output.name
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], nodes, [output], [result])
        result.name = name
        count += 1
    return count


def _nodes(graph: ir.Graph, node: ir.Node) -> Iterator[ir.Node]:
    """The nodes that stand for one attention, the one that gives its output last."""
    heads = node.attributes["num_heads"].as_int()
    query, key, value = node.inputs[:3]
    if query is None or query.shape is None or not isinstance(query.shape[2], int):
        raise ValueError(f"{node.name}: the queries' channel count is not known, so neither is the scale")

    def split(x: ir.Value | None, perm: Sequence[int]) -> list[ir.Node]:  # (B, M, heads·c) → (B, heads, M, c)
        shape = _constant(graph, node, "split", np.array([0, 0, heads, -1]))
        apart = ir.node("Reshape", [x, shape])
        return [apart, ir.node("Transpose", [apart.outputs[0]], {"perm": list(perm)})]

    queries, keys, values = split(query, (0, 2, 1, 3)), split(key, (0, 2, 3, 1)), split(value, (0, 2, 1, 3))
    yield from (*queries, *keys, *values)
    scale = _constant(graph, node, "scale", np.array(1 / math.sqrt(query.shape[2] // heads), np.float32))
    products = ir.node("MatMul", [queries[-1].outputs[0], keys[-1].outputs[0]])
    scores = ir.node("Mul", [products.outputs[0], scale])
    yield from (products, scores)
    if len(node.inputs) > 3:
        bits = ir.node("Cast", [node.inputs[3]], {"to": ir.DataType.BOOL})
        over_heads = ir.node("Unsqueeze", [bits.outputs[0], _constant(graph, node, "axes", np.array([1, 2]))])
        lowest = _constant(graph, node, "masked", np.array(_MASKED, np.float32))
        scores = ir.node("Where", [over_heads.outputs[0], scores.outputs[0], lowest])
        yield from (bits, over_heads, scores)
    weights = ir.node("Softmax", [scores.outputs[0]], {"axis": -1})
    context = ir.node("MatMul", [weights.outputs[0], values[-1].outputs[0]])
    together = ir.node("Transpose", [context.outputs[0]], {"perm": [0, 2, 1, 3]})
    shape = _constant(graph, node, "merge", np.array([0, 0, -1]))
    yield from (weights, context, together, ir.node("Reshape", [together.outputs[0], shape]))


def _constant(graph: ir.Graph, node: ir.Node, what: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ir.Value:
    """A stored tensor of the graph; equal ones are merged by a later pass."""
    name = f"{node.name}.{what}.{len(graph.initializers)}"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
