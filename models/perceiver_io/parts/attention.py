"""Multi-head attention and the layer built of it: attention, then an MLP, each after a LayerNorm.

Queries, keys and values may have different channel counts, and the residual connection to the queries can be left out,
as Perceiver IO needs (arXiv 2107.14795, appendix E; layout after transformers' PerceiverLayer).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import Activation


class Attend(Protocol):
    """The core of attention: queries (B, Q, heads·k), keys (B, M, heads·k), values (B, M, heads·v) → (B, Q, heads·v)."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
        """Attend. `mask` (B, M) is zero where a key is to be ignored; `dropout` drops attention weights."""
        ...


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, M, heads·c) → (B, heads, M, c)."""
    return x.view(x.shape[0], x.shape[1], heads, x.shape[2] // heads).transpose(1, 2)


def attention_weights(q: Tensor, k: Tensor, *, heads: int, mask: Tensor | None) -> Tensor:
    """softmax(q·kᵀ / √head_size) per head, masked keys left out: (B, heads, Q, M)."""
    q, k = _split(q, heads), _split(k, heads)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None] == 0, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=-1)


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, *, heads: int, mask: Tensor | None, dropout: float) -> Tensor:
    """`attention_weights`·v per head; `dropout` is applied to the weights.

    Written out, in the order of operations of transformers' model: so the two agree to the last bits, where a fused kernel
    differs by several times the rounding of float32. It stores the whole score matrix.
    """
    weights = F.dropout(attention_weights(q, k, heads=heads, mask=mask), dropout)
    return (weights @ _split(v, heads)).transpose(1, 2).flatten(-2)


class MultiHeadAttention(nn.Module):
    """Projections around `attend`. Replace the attribute `attend` to compute or trace the core in another way."""

    def __init__(
        self,
        *,
        q_channels: int,
        kv_channels: int,
        heads: int,
        qk_channels: int,
        v_channels: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if qk_channels % heads or v_channels % heads:
            raise ValueError(f"{heads} heads do not divide {qk_channels} query/key and {v_channels} value channels")
        self.heads = heads
        self.dropout = dropout
        self.attend: Attend = scaled_dot_product
        self.query = nn.Linear(q_channels, qk_channels)
        self.key = nn.Linear(kv_channels, qk_channels)
        self.value = nn.Linear(kv_channels, v_channels)
        self.output = nn.Linear(v_channels, q_channels)

    def forward(self, queries: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """queries (B, Q, q_channels), inputs (B, M, kv_channels), mask (B, M) → (B, Q, q_channels)."""
        context = self.attend(
            self.query(queries),
            self.key(inputs),
            self.value(inputs),
            heads=self.heads,
            mask=mask,
            dropout=self.dropout if self.training else 0.0,
        )
        result: Tensor = self.output(context)
        return result


class MLP(nn.Module):
    """Linear, GELU (exact, or with `gelu_tanh` its approximation), linear."""

    def __init__(self, channels: int, widening: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.approximate = "tanh" if activation == "gelu_tanh" else "none"
        self.expand = nn.Linear(channels, widening * channels)
        self.contract = nn.Linear(widening * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., channels) → (..., channels)."""
        result: Tensor = self.contract(F.gelu(self.expand(x), approximate=self.approximate))
        return result


class CrossAttentionLayer(nn.Module):
    """Queries attend to other inputs, then pass through an MLP.

    `qk_channels` None means the inputs' channels, `v_channels` None means as many as `qk_channels`. Without
    `query_residual` the attention's output replaces the queries instead of being added to them: right where queries
    are positions and outputs are pixels.
    """

    def __init__(
        self,
        *,
        q_channels: int,
        kv_channels: int,
        heads: int,
        qk_channels: int | None = None,
        v_channels: int | None = None,
        widening: int = 1,
        query_residual: bool = True,
        activation: Activation = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        qk_channels = qk_channels or kv_channels
        self.query_residual = query_residual
        self.query_norm = nn.LayerNorm(q_channels)
        self.input_norm = nn.LayerNorm(kv_channels)
        self.attention = MultiHeadAttention(
            q_channels=q_channels,
            kv_channels=kv_channels,
            heads=heads,
            qk_channels=qk_channels,
            v_channels=v_channels or qk_channels,
            dropout=dropout,
        )
        self.mlp_norm = nn.LayerNorm(q_channels)
        self.mlp = MLP(q_channels, widening, activation)

    def forward(self, queries: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """queries (B, Q, q_channels), inputs (B, M, kv_channels), mask (B, M): zero ignores → (B, Q, q_channels)."""
        x = self.attention(self.query_norm(queries), self.input_norm(inputs), mask)
        if self.query_residual:
            x = queries + x
        result: Tensor = x + self.mlp(self.mlp_norm(x))
        return result


class SelfAttentionLayer(nn.Module):
    """The latents attend to one another, then pass through an MLP; both with a residual connection."""

    def __init__(
        self,
        *,
        channels: int,
        heads: int,
        qk_channels: int | None = None,
        v_channels: int | None = None,
        widening: int = 1,
        activation: Activation = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        qk_channels = qk_channels or channels
        self.norm = nn.LayerNorm(channels)
        self.attention = MultiHeadAttention(
            q_channels=channels,
            kv_channels=channels,
            heads=heads,
            qk_channels=qk_channels,
            v_channels=v_channels or qk_channels,
            dropout=dropout,
        )
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = MLP(channels, widening, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, channels) → (B, N, channels)."""
        normed = self.norm(x)
        x = x + self.attention(normed, normed)
        result: Tensor = x + self.mlp(self.mlp_norm(x))
        return result
