"""`perceiver::Attention` → what is fastest on ONNX Runtime within a memory budget.

Most become `com.microsoft::MultiHeadAttention`: softmax(q·kᵀ/√head_size)·v in one kernel that never stores the score matrix;
its queries, keys and values have the traced layout, (B, length, heads·channels), and key and value channels may differ. Two
kinds become MatMul, Softmax, MatMul (decompose_attention.py), whose scores are stored:

- those with a mask;
- a single head in which a fixed number of queries, latents, looks at any number of inputs: the kernel copies keys and values
  and works on blocks of some hundred rows, where two large products run at the processor's peak (flow's 2048 × 182,528 × 322:
  2.9 s against 3.7 s on two cores). Queries are answered in groups (group_queries.py), so that the scores fit the budget.

Exact up to the order of summation.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from perceiver_export.analysis.attention_shapes import AttentionShape
from perceiver_export.attention_node import DOMAIN
from perceiver_export.passes.attention.decompose_attention import attention_nodes, attention_scale, decompose_attention
from perceiver_export.passes.attention.group_queries import group_queries
from perceiver_export.passes.patterns import MICROSOFT, length, substitute


def lower_attention_ort(model: ir.Model, shapes: Sequence[AttentionShape] | None = None, *, budget: int = 0) -> int:
    """Replace every attention node; the number replaced. Without `shapes` no queries are grouped."""
    nodes = attention_nodes(model)
    if shapes is not None:
        group_queries(model, shapes, budget=budget)
    decompose_attention(model, [node for node in nodes if len(node.inputs) > 3 or _is_wide(node)], flat=True)
    fuse_attention(model)
    return len(nodes)


def fuse_attention(model: ir.Model) -> None:
    """Make each attention that is left one `MultiHeadAttention`."""
    for node in attention_nodes(model):
        attributes = {"num_heads": node.attributes["num_heads"].as_int(), "scale": attention_scale(node)}
        fused = ir.node("MultiHeadAttention", list(node.inputs), attributes, domain=MICROSOFT, name=node.name)
        substitute(model.graph, [node], [fused])
    model.opset_imports.pop(DOMAIN, None)
    if any(node.domain == MICROSOFT for node in model.graph):
        model.opset_imports[MICROSOFT] = 1


def _is_wide(node: ir.Node) -> bool:
    """Whether a fixed number of queries looks at more keys, or any number of them, with one head."""
    queries, keys = length(node.inputs[0]), length(node.inputs[1])
    return node.attributes["num_heads"].as_int() == 1 and queries is not None and (keys is None or keys > queries)
