"""`perceiver::Attention` → what TensorRT makes one kernel of, or where it cannot, what stays within a memory budget.

Heads are padded to one size (pad_heads.py), fixed queries are grouped (group_queries.py), and all become MatMul, Softmax,
MatMul (decompose_attention.py). TensorRT fuses those in half precision with several heads of 16 to 256 channels
each; the single-head cross-attentions with 261 to 704 channels it does not, and stores their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from perceiver_export.analysis.attention_shapes import AttentionShape
from perceiver_export.attention_node import DOMAIN
from perceiver_export.passes.attention.decompose_attention import attention_nodes, decompose_attention
from perceiver_export.passes.attention.group_queries import group_queries
from perceiver_export.passes.attention.pad_heads import pad_heads
from perceiver_export.passes.exact.name_by_module import module_of
from perceiver_export.passes.patterns import width


def lower_attention_tensorrt(
    model: ir.Model, shapes: Sequence[AttentionShape], precision: str, *, budget: int
) -> list[dict[str, Any]]:
    """Replace every attention node; what was planned for each, as JSON values.

    `fuses`: whether TensorRT should make one kernel of it. `score_bytes`: of its largest score matrix, in float32, where it
    does not.
    """
    pad_heads(model)
    groups = group_queries(model, shapes, budget=budget)
    plan = []
    for node, shape, count in zip(attention_nodes(model), shapes, groups):
        sizes = [(width(node.inputs[place]) or 0) // shape.heads for place in (0, 2)]
        fuses = precision != "fp32" and shape.fusable and sizes[0] == sizes[1]
        plan.append(
            {
                "module": module_of(node),
                "heads": shape.heads,
                "head_sizes": sizes,
                "queries": shape.queries,
                "keys": shape.keys,
                "groups": count,
                "score_bytes": -(-shape.queries // count) * (shape.score_bytes // shape.queries),
                "fuses": fuses,
            }
        )
    decompose_attention(model)
    model.opset_imports.pop(DOMAIN, None)
    return plan
