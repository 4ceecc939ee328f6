"""`perceiver::Attention` → ONNX Runtime's `com.microsoft::MultiHeadAttention`.

softmax(q·kᵀ/√head_size)·v in one kernel that never stores the score matrix: for flow's first cross-attention that matrix
has 2048 × 182,528 entries. Exact up to the order of summation. Applies to every attention; the operator takes queries,
keys and values in the traced layout, (B, length, heads·channels), and key and value channels may differ.
A mask goes to it as its key padding mask, int32.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from perceiver_export.attention_node import DOMAIN, OP_TYPE


def lower_attention_ort(model: ir.Model) -> int:
    """Replace every attention node."""
    count = 0
    for node in list(model.graph):
        if (node.domain, node.op_type) != (DOMAIN, OP_TYPE):
            continue
        query, output = node.inputs[0], node.outputs[0]
        heads = node.attributes["num_heads"].as_int()
        if query is None or query.shape is None or not isinstance(query.shape[2], int):
            raise ValueError(f"{node.name}: the queries' channel count is not known, so neither is the scale")
        inputs, new_nodes = list(node.inputs[:3]), []
        if len(node.inputs) > 3:
            mask = ir.node("Cast", inputs=[node.inputs[3]], attributes={"to": ir.DataType.INT32}, name=f"{node.name}/mask")
            mask.metadata_props.update(node.metadata_props)
            inputs += [None, mask.outputs[0]]  # where a bias would stand, then the mask
            new_nodes.append(mask)
        fused = ir.node(
            "MultiHeadAttention",
            inputs=inputs,
            attributes={"num_heads": heads, "scale": 1 / math.sqrt(query.shape[2] // heads)},
            domain="com.microsoft",
            name=node.name,
        )
        fused.metadata_props.update(node.metadata_props)
        fused.outputs[0].shape, fused.outputs[0].type = output.shape, output.type
        name = output.name
        new_nodes.append(fused)
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], new_nodes, [output], fused.outputs)
        fused.outputs[0].name = name
        count += 1
    model.opset_imports.pop(DOMAIN, None)
    if count:
        model.opset_imports["com.microsoft"] = 1
    return count
