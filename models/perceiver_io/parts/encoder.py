"""The Perceiver encoder: learned latents read the inputs, then a stack of self-attention transforms them.

The stack may be applied several times with the same weights (`num_blocks`), and the first `cross_attentions` of them may each
begin with reading the inputs again, also with the same weights, as in the original Perceiver (arXiv 2103.03206, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perceiver_io.config import EncoderConfig
from perceiver_io.parts.attention import CrossAttentionLayer, SelfAttentionLayer
from perceiver_io.parts.part import part


@part
class PerceiverEncoder(nn.Module):
    """Inputs of any length to a fixed number of latents (arXiv 2107.14795, figure 2)."""

    def __init__(self, config: EncoderConfig, *, input_channels: int) -> None:
        super().__init__()
        self.num_blocks, self.cross_attentions = config.num_blocks, config.cross_attentions
        self.latents = nn.Parameter(torch.randn(config.num_latents, config.latent_channels) * config.initializer_range)
        default_qk = input_channels if config.cross_attention_shape == "kv" else config.latent_channels
        self.cross_attention = CrossAttentionLayer(
            q_channels=config.latent_channels,
            kv_channels=input_channels,
            heads=config.cross_attention_heads,
            qk_channels=config.qk_channels or default_qk,
            v_channels=config.v_channels,
            widening=config.cross_attention_widening,
            query_residual=config.query_residual,
            activation=config.activation,
            dropout=config.attention_dropout,
        )
        self.self_attention = nn.ModuleList(
            SelfAttentionLayer(
                channels=config.latent_channels,
                heads=config.self_attention_heads,
                qk_channels=config.qk_channels,
                v_channels=config.v_channels,
                widening=config.self_attention_widening,
                activation=config.activation,
                dropout=config.attention_dropout,
            )
            for _ in range(config.layers_per_block)
        )

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """inputs (B, M, input_channels), mask (B, M): zero ignores → latents (B, num_latents, latent_channels)."""
        latents = self.latents.expand(inputs.shape[0], -1, -1)
        for block in range(self.num_blocks):
            if block < self.cross_attentions:
                latents = self.cross_attention(latents, inputs, mask)
            for layer in self.self_attention:
                latents = layer(latents)
        return latents
