"""What depends on weights alone is computed once: learned latents and queries go through LayerNorm and linear layers at export.

The tracer repeats a stored table over the batch (Expand), or picks rows of it (Gather), before the first layers see it, which
hides that they depend on nothing else. A LayerNormalization, a product with a stored matrix, or a sum with a stored vector,
applied to such a table, becomes a stored table, repeated or picked from; a product only where that stores no more than before.
Exact up to rounding; computed in float64.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_export.passes.patterns import drop_unread, is_stored, stored, substitute


def fold_expanded(model: ir.Model) -> int:
    """Fold until nothing is left to fold; the number of nodes folded."""
    count = 0
    for node in list(model.graph):
        source = _from_table(node)
        result = _value(node, source) if source is not None else None
        if source is None or result is None:
            continue
        name = f"{source.inputs[0].name}".partition(".folded")[0]  # type: ignore[union-attr]
        table, rows = stored(model.graph, f"{name}.folded", result), source.inputs[1]
        if source.op_type == "Expand":
            rows = _resized(model.graph, rows, int(result.shape[-1]), node)
        substitute(model.graph, [node], [ir.node(source.op_type, [table, rows], name=node.name)])
        count += 1
    _remove_unread(model)
    return count


def _from_table(node: ir.Node) -> ir.Node | None:
    """The Expand of a stored table (rows, channels) over a batch, or the Gather of rows, that the node's first input is."""
    first = node.inputs[0] if node.inputs else None
    source = first.producer() if first is not None else None
    if source is None or source.op_type not in ("Expand", "Gather"):
        return None
    table, shape = source.inputs[0], source.outputs[0].shape
    if table is None or not is_stored(table) or table.shape is None or shape is None or len(shape) != 3:
        return None
    if source.op_type == "Gather":
        axis = source.attributes["axis"].as_int() if "axis" in source.attributes else 0
        return source if axis == 0 and len(table.shape) == 2 else None
    return source if list(shape)[1:] == list(table.shape)[-2:] else None


def _value(node: ir.Node, source: ir.Node) -> NDArray[np.float64] | None:
    """What the node makes of the table; None where that is not known from weights alone."""
    rest = node.inputs[1:]
    if not rest or not all(value is not None and is_stored(value) for value in rest) or node.outputs[0].is_graph_output():
        return None
    x, *others = (value.const_value.numpy().astype(np.float64) for value in (source.inputs[0], *rest))  # type: ignore[union-attr]
    if node.op_type == "LayerNormalization" and len(others) == 2:
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        centred = x - x.mean(axis=-1, keepdims=True)
        result: NDArray[np.float64] = centred / np.sqrt(centred.var(axis=-1, keepdims=True) + epsilon) * others[0] + others[1]
        return result
    if node.op_type == "MatMul" and others[0].ndim == 2:
        product: NDArray[np.float64] = x @ others[0]
        return product if source.op_type == "Expand" or product.size <= x.size + others[0].size else None
    if node.op_type == "Add" and others[0].ndim <= 1:
        total: NDArray[np.float64] = x + others[0]
        return total
    return None


def _resized(graph: ir.Graph, size: ir.Value | None, channels: int, before: ir.Node) -> ir.Value:
    """The Expand's target shape (B, rows, channels), with this many channels."""
    start, end, axis = (_integers(graph, name, number) for name, number in (("first", 0), ("last", 2), ("axis", 0)))
    head = ir.node("Slice", [size, start, end, axis])
    joined = ir.node("Concat", [head.outputs[0], _integers(graph, "channels", channels)], {"axis": 0})
    for node in (head, joined):
        node.outputs[0].dtype = ir.DataType.INT64
        node.metadata_props.update(before.metadata_props)
    graph.insert_before(before, [head, joined])
    return joined.outputs[0]


def _integers(graph: ir.Graph, what: str, number: int) -> ir.Value:
    name = f"expand.{what}.{number}"
    if name not in graph.initializers:
        tensor = ir.tensor(np.array([number]), name=name)
        value = ir.Value(name=name, shape=ir.Shape([1]), type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[name]


def _remove_unread(model: ir.Model) -> None:
    """Nodes and tables that nothing reads any more."""
    for node in reversed(list(model.graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            model.graph.remove(node, safe=True)
    drop_unread(model.graph)
