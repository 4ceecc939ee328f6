"""Token classification as graphs: latents and a query for each token, then a label for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.tasks.text import text_encode
from perceiver_io import TokenClassifier


class TokenEncode(nn.Module):
    """input_ids, attention_mask → latents, queries."""

    def __init__(self, model: TokenClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """input_ids (B, L) int64, attention_mask (B, L) int64, zero is padding → latents (B, N, D), queries (B, L, C)."""
        return self.model.encode(input_ids, attention_mask)


class TokenDecode(nn.Module):
    """latents, queries → logits."""

    def __init__(self, model: TokenClassifier) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, latents: Tensor, queries: Tensor) -> Tensor:
        """latents (B, N, D), queries (B, L, C) → logits (B, L, labels)."""
        logits: Tensor = self.decoder(latents, queries)
        return logits


class TokenClassifierFused(nn.Module):
    """input_ids, attention_mask → logits."""

    def __init__(self, model: TokenClassifier) -> None:
        super().__init__()
        self.encode, self.decode = TokenEncode(model), TokenDecode(model)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L) int64 → logits (B, L, labels)."""
        logits: Tensor = self.decode(*self.encode(input_ids, attention_mask))
        return logits


def token_classification_graphs(model: TokenClassifier, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace for token classification."""
    traced, config = traceable(model), model.config
    alone, batch, length = text_encode(traced), Dim("B", min=1), Dim("L", min=1)
    channels = config.text.channels
    outputs = {**alone.outputs, "queries": ("B", "L", channels)}
    encode = GraphSpec("encode", TokenEncode(traced), alone.example, alone.dynamic, outputs)
    decode = GraphSpec(
        name="decode",
        module=TokenDecode(traced),
        example={
            "latents": torch.zeros(2, config.encoder.num_latents, config.encoder.latent_channels),
            "queries": torch.zeros(2, 5, channels),
        },
        dynamic={"latents": {0: batch}, "queries": {0: batch, 1: length}},
        outputs={"logits": ("B", "L", len(config.labels))},
    )
    whole = GraphSpec("model", TokenClassifierFused(traced), encode.example, encode.dynamic, decode.outputs)
    return [encode, decode] + [whole] * fused
