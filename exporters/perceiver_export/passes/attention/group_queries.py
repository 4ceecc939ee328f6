"""Attention whose score matrix would be too large → its queries answered in groups, one after the other.

Only marks the nodes; decompose_attention.py makes the groups. Exact: each query attends on its own. Applies where the
number of queries is fixed, as of latents; a decoder's queries are chunked by the runtime instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from perceiver_export.analysis.attention_shapes import AttentionShape
from perceiver_export.passes.attention.decompose_attention import attention_nodes


def group_queries(model: ir.Model, shapes: Sequence[AttentionShape], *, budget: int) -> list[int]:
    """Mark each attention so that no score matrix has more than `budget` bytes; in how many groups each is answered."""
    groups = []
    for node, shape in zip(attention_nodes(model), shapes, strict=True):
        size = max(1, budget // (shape.score_bytes // shape.queries))  # queries in a group
        count = -(-shape.queries // size) if shape.fixed_queries else 1
        if count > 1:
            node.attributes["groups"] = ir.AttrInt64("groups", count)
        groups.append(count)
    return groups
