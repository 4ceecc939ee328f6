"""Biases of query, key and value layers → the bias of ONNX Runtime's `MultiHeadAttention`, which adds them where it reads them.

Exact. Applies where all three layers have one and nothing else reads their sums.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from perceiver_export.passes.patterns import MICROSOFT, drop_unread, linear, stored


def fuse_biases(model: ir.Model) -> int:
    """Fuse the biases of every such attention; the number of attentions."""
    return sum(
        _fuse(model.graph, node)
        for node in list(model.graph)
        if (node.domain, node.op_type) == (MICROSOFT, "MultiHeadAttention") and len(node.inputs) == 3
    )


def _fuse(graph: ir.Graph, node: ir.Node) -> bool:
    layers = [linear(value) for value in node.inputs]
    found = [layer for layer in layers if layer is not None]
    if len(found) != 3:
        return False
    bias = stored(graph, f"{node.name}.bias", np.concatenate([layer.bias for layer in found]))
    node.resize_inputs(4)
    for place, layer in enumerate(found):
        node.replace_input_with(place, layer.product.outputs[0])
        graph.remove(layer.addition, safe=True)
    node.replace_input_with(3, bias)
    drop_unread(graph)
    return True
