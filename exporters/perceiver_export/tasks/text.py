"""Text as graphs: masked bytes and classification."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_io import MaskedLanguageModel, TextClassifier


class TextEncode(nn.Module):
    """input_ids, attention_mask → latents."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.preprocessor, self.encoder = model.preprocessor, model.encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L) int64, zero is padding → latents (B, N, D)."""
        latents: Tensor = self.encoder(self.preprocessor(input_ids), attention_mask)
        return latents


class FillMaskDecode(nn.Module):
    """latents, query_positions → logits."""

    def __init__(self, model: MaskedLanguageModel) -> None:
        super().__init__()
        self.queries, self.decoder = model.queries, model.decoder
        self.embedding, self.output_bias = model.preprocessor.embedding, model.output_bias

    def forward(self, latents: Tensor, query_positions: Tensor) -> Tensor:
        """latents (B, N, D), query_positions (B, O) int64 → logits (B, O, V)."""
        decoded = self.decoder(latents, F.embedding(query_positions, self.queries.table))
        logits: Tensor = decoded @ self.embedding.weight.transpose(0, 1) + self.output_bias
        return logits


class FillMaskFused(nn.Module):
    """input_ids, attention_mask → logits at every byte."""

    def __init__(self, model: MaskedLanguageModel) -> None:
        super().__init__()
        self.encode, self.decode = TextEncode(model), FillMaskDecode(model)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L) int64 → logits (B, L, V)."""
        positions = torch.arange(input_ids.shape[1]).expand(input_ids.shape[0], -1)
        logits: Tensor = self.decode(self.encode(input_ids, attention_mask), positions)
        return logits


class TextClassifierFused(nn.Module):
    """input_ids, attention_mask → logits."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.encode, self.decoder = TextEncode(model), model.decoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L) int64 → logits (B, labels)."""
        logits: Tensor = self.decoder(self.encode(input_ids, attention_mask))
        return logits


class LabelDecode(nn.Module):
    """latents → logits."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        """latents (B, N, D) → logits (B, labels)."""
        logits: Tensor = self.decoder(latents)
        return logits


def text_encode(model: Any) -> GraphSpec:
    """The encoder of a traceable text model."""
    encoder, limit = model.config.encoder, model.config.text.max_positions
    batch, length = Dim("B", min=1), Dim("L", min=1, max=limit)
    return GraphSpec(
        name="encode",
        module=TextEncode(model),
        example={
            "input_ids": torch.zeros(2, min(7, limit), dtype=torch.int64),
            "attention_mask": torch.ones(2, min(7, limit), dtype=torch.int64),
        },
        dynamic={"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        outputs={"latents": ("B", encoder.num_latents, encoder.latent_channels)},
    )


def label_decode(model: Any) -> GraphSpec:
    """The decoder of a traceable classifier."""
    encoder = model.config.encoder
    return GraphSpec(
        name="decode",
        module=LabelDecode(model.decoder),
        example={"latents": torch.zeros(2, encoder.num_latents, encoder.latent_channels)},
        dynamic={"latents": {0: Dim("B", min=1)}},
        outputs={"logits": ("B", len(model.config.labels))},
    )


def fill_mask_graphs(model: MaskedLanguageModel, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace for masked bytes."""
    traced, config = traceable(model), model.config
    encode = text_encode(traced)
    batch, queries = Dim("B", min=1), Dim("O", min=1)
    decode = GraphSpec(
        name="decode",
        module=FillMaskDecode(traced),
        example={
            "latents": torch.zeros(2, config.encoder.num_latents, config.encoder.latent_channels),
            "query_positions": torch.zeros(2, 5, dtype=torch.int64),
        },
        dynamic={"latents": {0: batch}, "query_positions": {0: batch, 1: queries}},
        outputs={"logits": ("B", "O", config.text.vocab_size)},
    )
    outputs: dict[str, tuple[str | int, ...]] = {"logits": ("B", "L", config.text.vocab_size)}
    whole = GraphSpec("model", FillMaskFused(traced), encode.example, encode.dynamic, outputs)
    return [encode, decode] + [whole] * fused


def text_classification_graphs(model: TextClassifier, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace for classification of text."""
    traced = traceable(model)
    encode, decode = text_encode(traced), label_decode(traced)
    whole = GraphSpec("model", TextClassifierFused(traced), encode.example, encode.dynamic, decode.outputs)
    return [encode, decode] + [whole] * fused
