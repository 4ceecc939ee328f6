"""Transpose of a stored tensor → the transposed tensor, stored.

The tracer folds the transposes of linear layers' weights, but not of a weight that several places use. Exact: the same
numbers in another order. Nothing applies where the transposed tensor comes from the graph.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def fold_transposes(model: ir.Model) -> int:
    """Fold every transpose of an initializer; the number folded."""
    count = 0
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == "Transpose" else None
        if source is None or not source.is_initializer() or source.const_value is None or node.outputs[0].is_graph_output():
            continue
        axes = node.attributes["perm"].as_ints() if "perm" in node.attributes else None
        array = np.ascontiguousarray(source.const_value.numpy().transpose(axes))
        name = f"{source.name}.T{count or ''}"
        folded = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(source.const_value.dtype),
            const_value=ir.tensor(array, dtype=source.const_value.dtype, name=name),
        )
        model.graph.register_initializer(folded)
        ir.convenience.replace_all_uses_with(node.outputs[0], folded)
        model.graph.remove(node, safe=True)
        if not source.uses():
            del model.graph.initializers[source.name or ""]
        count += 1
    return count
