"""`perceiver::Attention` → MatMul, Softmax, MatMul of ONNX itself, the pattern that TensorRT fuses into one kernel.

Also for ONNX Runtime where there is a mask: with a key padding mask, ONNX Runtime 1.20's fused operator corrupts memory (the
process aborts; seen with its arena off in 1.20.0 and 1.20.1, not in 1.21.1, 1.22.1, 1.23.2 and 1.24.4), and the mask turns its
flash kernel off, so nothing is lost: a text's score matrix has heads × latents × bytes entries. Queries are scaled before the
product, which keeps float16 from overflowing. Masked scores become -65504, which float16 can hold too.

An attention may carry two attributes of passes before this one: `scale` (of whatever changed the queries' size) and `groups`
(group_queries.py): that many parts of the queries are answered one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_export.attention_node import DOMAIN, OP_TYPE
from perceiver_export.passes.patterns import length

_MASKED = -65504.0


def attention_nodes(model: ir.Model) -> list[ir.Node]:
    """The attentions of a traced graph, in its order."""
    return [node for node in model.graph if (node.domain, node.op_type) == (DOMAIN, OP_TYPE)]


def attention_scale(node: ir.Node) -> float:
    """What an attention multiplies its scores by: its attribute `scale`, else 1/√head size."""
    if "scale" in node.attributes:
        return node.attributes["scale"].as_float()
    query = node.inputs[0]
    if query is None or query.shape is None or not isinstance(query.shape[2], int):
        raise ValueError(f"{node.name}: the queries' channel count is not known, so neither is the scale")
    return 1 / math.sqrt(query.shape[2] // node.attributes["num_heads"].as_int())


def lower_attention_primitive(model: ir.Model, *, masked_only: bool = False) -> int:
    """Replace every attention node, or those with a mask; the number replaced."""
    count = 0
    for node in attention_nodes(model):
        if masked_only and len(node.inputs) < 4:
            continue
        lowered = _Lowering(model.graph, node)
        result = lowered.attention()
        for each in lowered.nodes:
            each.metadata_props.update(node.metadata_props)
        output = node.outputs[0]
        result.shape, result.type = output.shape, output.type
        name = output.name
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], lowered.nodes, [output], [result])
        result.name = name
        count += 1
    return count


class _Lowering:
    """Makes the nodes that stand for one attention."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[ir.Node] = []

    def attention(self) -> ir.Value:
        """(B, Q, heads·v), the output of the last of `nodes`."""
        node = self.node
        query, key, value = node.inputs[:3]
        assert query is not None  # an attention has three inputs
        heads = node.attributes["num_heads"].as_int()
        scaled = self.add("Mul", query, self.constant("scale", np.array(attention_scale(node), np.float32)))
        scaled.shape = ir.Shape([None, None, query.shape[2] if query.shape is not None else None])
        keys, values = self.split(key, heads, (0, 2, 3, 1)), self.split(value, heads, (0, 2, 1, 3))
        seen = None
        if len(node.inputs) > 3:
            bits = self.add("Cast", node.inputs[3], dtype=ir.DataType.BOOL, to=ir.DataType.BOOL)
            seen = self.add("Unsqueeze", bits, self.constant("axes", np.array([1, 2])), dtype=ir.DataType.BOOL)
        groups = node.attributes["groups"].as_int() if "groups" in node.attributes else 1
        if groups == 1:
            return self.part(scaled, keys, values, heads, seen)
        count = length(query)
        assert count is not None  # group_queries.py checks
        each = -(-count // groups)
        starts = range(0, count, each)
        parts = []
        for start in starts:
            bounds = [self.constant(what, np.array([number])) for what, number in (("start", start), ("end", start + each))]
            queries = self.add("Slice", scaled, *bounds, self.constant("axis", np.array([1])))
            queries.shape = scaled.shape
            parts.append(self.part(queries, keys, values, heads, seen))
        return self.add("Concat", *parts, axis=1)

    def part(self, query: ir.Value, keys: ir.Value, values: ir.Value, heads: int, seen: ir.Value | None) -> ir.Value:
        """Queries (B, Q, heads·k), scaled, keys (B, heads, k, M), values (B, heads, M, v) → (B, Q, heads·v)."""
        scores = self.add("MatMul", self.split(query, heads, (0, 2, 1, 3)), keys)
        if seen is not None:
            scores = self.add("Where", seen, scores, self.constant("masked", np.array(_MASKED, np.float32)))
        context = self.add("MatMul", self.add("Softmax", scores, axis=-1), values)
        together = self.add("Transpose", context, perm=(0, 2, 1, 3))
        width = self.node.outputs[0].shape[-1] if self.node.outputs[0].shape is not None else None
        return self.add("Reshape", together, self.constant("merge", np.array([0, 0, width if isinstance(width, int) else -1])))

    def split(self, x: ir.Value | None, heads: int, perm: Sequence[int]) -> ir.Value:
        """(B, M, heads·c) → (B, heads, M, c), its axes in another order."""
        width = x.shape[-1] if x is not None and x.shape is not None else None
        size = width // heads if isinstance(width, int) else -1  # said where it is known, and not left to be worked out
        apart = self.add("Reshape", x, self.constant("split", np.array([0, 0, heads, size])))
        return self.add("Transpose", apart, perm=tuple(perm))

    def add(
        self, kind: str, *inputs: ir.Value | None, dtype: ir.DataType = ir.DataType.FLOAT, **attributes: object
    ) -> ir.Value:
        """A node's output."""
        node = ir.node(kind, list(inputs), attributes)  # type: ignore[arg-type]
        node.outputs[0].dtype = dtype
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, what: str, array: NDArray[np.generic]) -> ir.Value:
        """A stored tensor of the graph; equal ones are merged by a later pass."""
        name = f"{self.node.name}.{what}.{len(self.graph.initializers)}"
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value
