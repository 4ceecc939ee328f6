"""Attention as one recognisable node of the traced graph, for a lowering pass to replace.

The trace holds `perceiver::Attention(q, k, v[, mask])` with the attribute `num_heads`: queries (B, Q, heads·k), keys
(B, M, heads·k), values (B, M, heads·v), mask (B, M), zero where a key is to be ignored → (B, Q, heads·v), scaled by 1/√k. No
bundle ever contains this node.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perceiver_io.parts.attention import MultiHeadAttention

DOMAIN, OP_TYPE = "perceiver", "Attention"
FOREIGN = "foreign"  # an attribute of those that no `MultiHeadAttention` of perceiver_io made


def symbolic_attention(q: Tensor, k: Tensor, v: Tensor, *, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
    """Stands in for `perceiver_io.parts.attention.scaled_dot_product` while a model is traced."""
    node: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OP_TYPE}",
        (q, k, v) if mask is None else (q, k, v, mask),
        {"num_heads": heads},
        dtype=q.dtype,
        shape=(q.shape[0], q.shape[1], v.shape[2]),
        version=1,
    )
    return node


def use_symbolic_attention(model: nn.Module) -> None:
    """Make every attention of `model` trace as one node. Changes the model: give a copy."""
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.attend = symbolic_attention
