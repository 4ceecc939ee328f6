"""`perceiver::Attention` → ONNX Runtime's `com.microsoft::MultiHeadAttention`.

softmax(q·kᵀ/√head_size)·v in one kernel that never stores the score matrix: for flow's first cross-attention that matrix
has 2048 × 182,528 entries. Exact up to the order of summation. Applies to every attention without a mask (those with one:
lower_attention_primitive.py); the operator takes queries, keys and values in the traced layout, (B, length, heads·channels),
and key and value channels may differ.
"""

from __future__ import annotations

import onnx_ir as ir

from perceiver_export.attention_node import DOMAIN, OP_TYPE
from perceiver_export.passes.lower_attention_primitive import attention_scale, lower_attention_primitive


def lower_attention_ort(model: ir.Model) -> int:
    """Replace every attention node."""
    count = lower_attention_primitive(model, masked_only=True)
    for node in list(model.graph):
        if (node.domain, node.op_type) != (DOMAIN, OP_TYPE):
            continue
        output = node.outputs[0]
        heads = node.attributes["num_heads"].as_int()
        fused = ir.node(
            "MultiHeadAttention",
            inputs=list(node.inputs),
            attributes={"num_heads": heads, "scale": attention_scale(node)},
            domain="com.microsoft",
            name=node.name,
        )
        fused.metadata_props.update(node.metadata_props)
        fused.outputs[0].shape, fused.outputs[0].type = output.shape, output.type
        name = output.name
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], [fused], [output], fused.outputs)
        fused.outputs[0].name = name
        count += 1
    model.opset_imports.pop(DOMAIN, None)
    if any(node.domain == "com.microsoft" for node in model.graph):
        model.opset_imports["com.microsoft"] = 1
    return count
