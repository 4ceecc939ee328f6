"""`perceiver::Attention` → MatMul, Softmax, MatMul of ONNX itself, the pattern that TensorRT fuses into one kernel.

Also for ONNX Runtime where there is a mask: with a key padding mask, ONNX Runtime 1.20's fused operator corrupts memory (the
process aborts; seen with its arena off in 1.20.0 and 1.20.1, not in 1.21.1, 1.22.1, 1.23.2 and 1.24.4), and the mask turns its
flash kernel off, so nothing is lost: a text's score matrix has heads × latents × bytes entries. Queries are scaled before the
product, which keeps float16 from overflowing. A mask adds -30000 to scores: float16 can hold it too, its exponential is 0.

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

_MASKED = -30000.0


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


def decompose_attention(model: ir.Model, nodes: Sequence[ir.Node] | None = None, *, flat: bool = False) -> int:
    """Replace these attention nodes, or all; the number replaced.

    With `flat` single heads have no axis of their own: ONNX Runtime then reads keys transposed without making a copy.
    """
    count = 0
    for node in attention_nodes(model) if nodes is None else nodes:
        lowered = _Lowering(model.graph, node, flat)
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

    def __init__(self, graph: ir.Graph, node: ir.Node, flat: bool) -> None:
        self.graph, self.node = graph, node
        self.flat = flat and node.attributes["num_heads"].as_int() == 1
        self.nodes: list[ir.Node] = []

    def attention(self) -> ir.Value:
        """(B, Q, heads·v), the output of the last of `nodes`."""
        node = self.node
        query, key, value = node.inputs[:3]
        assert query is not None  # an attention has three inputs
        heads = node.attributes["num_heads"].as_int()
        scaled = self.add("Mul", query, self.constant("scale", np.array(attention_scale(node), np.float32)))
        scaled.shape = query.shape
        keys, values = self.split(key, heads, (0, 2, 3, 1)), self.split(value, heads, (0, 2, 1, 3))
        seen = None
        if len(node.inputs) > 3:
            bits = self.add("Cast", node.inputs[3], dtype=ir.DataType.BOOL, to=ir.DataType.BOOL)
            axes = self.constant("axes", np.array([1] if self.flat else [1, 2]))
            seen = self.add("Unsqueeze", bits, axes, dtype=ir.DataType.BOOL)
            numbers = [self.constant(what, np.array(number, np.float32)) for what, number in (("seen", 0), ("masked", _MASKED))]
            seen = self.add("Where", seen, *numbers)
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
            queries.shape = ir.Shape([scaled.shape[0], min(each, count - start), scaled.shape[2]]) if scaled.shape else None
            parts.append(self.part(queries, keys, values, heads, seen))
        return self.add("Concat", *parts, axis=1)

    def part(self, query: ir.Value, keys: ir.Value, values: ir.Value, heads: int, seen: ir.Value | None) -> ir.Value:
        """Queries (B, Q, heads·k), scaled, keys (B, heads, k, M), values (B, heads, M, v) → (B, Q, heads·v)."""
        scores = self.add("MatMul", self.split(query, heads, (0, 2, 1, 3)), keys)
        scores.shape = self.score_shape(query, heads)
        if seen is not None:
            scores = self.add("Add", scores, seen)
        shares = self.add("Softmax", scores, axis=-1)
        shares.shape = self.score_shape(query, heads)
        context = self.add("MatMul", shares, values)
        if self.flat:
            return context
        together = self.add("Transpose", context, perm=(0, 2, 1, 3))
        width = self.node.outputs[0].shape[-1] if self.node.outputs[0].shape is not None else None
        return self.add("Reshape", together, self.constant("merge", np.array([0, 0, width if isinstance(width, int) else -1])))

    def score_shape(self, query: ir.Value, heads: int) -> ir.Shape | None:
        """That of the scores, named: ONNX Runtime then keeps all groups' scores in one place."""
        key = self.node.inputs[1]
        if query.shape is None or key is None or key.shape is None:
            return None
        batch, rows, columns = query.shape[0], query.shape[1], key.shape[1]
        return ir.Shape([batch, rows, columns] if self.flat else [batch, heads, rows, columns])

    def split(self, x: ir.Value | None, heads: int, perm: Sequence[int]) -> ir.Value:
        """(B, M, heads·c) → (B, heads, M, c), its axes in another order; without the axis of heads if `flat`."""
        if self.flat and x is not None:
            return x if perm == (0, 2, 1, 3) else self.add("Transpose", x, perm=(0, 2, 1))
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
