"""Bare features: the encoder of any model, alone, as one graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.tasks.audio import audio_encode
from perceiver_export.tasks.flow import flow_graphs
from perceiver_export.tasks.image import image_encode
from perceiver_export.tasks.multimodal import multimodal_encode
from perceiver_export.tasks.text import text_encode
from perceiver_io import (
    AudioClassifier,
    FeatureExtractor,
    ImageClassifier,
    MaskedLanguageModel,
    MultimodalAutoencoder,
    OpticalFlow,
    TextClassifier,
    TokenClassifier,
)


class VectorEncode(nn.Module):
    """inputs, attention_mask → latents."""

    def __init__(self, model: FeatureExtractor) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """inputs (B, M, C), attention_mask (B, M) int64, zero is padding → latents (B, N, D)."""
        latents: Tensor = self.encoder(inputs, attention_mask)
        return latents


class FlowFeatures(nn.Module):
    """frames → latents."""

    def __init__(self, encode: nn.Module) -> None:
        super().__init__()
        self.encode = encode

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, 2, 3, H, W) in [-1, 1] → latents (B, N, D)."""
        latents: Tensor = self.encode(frames)[0]
        return latents


class TokenFeatures(nn.Module):
    """input_ids, attention_mask → latents."""

    def __init__(self, model: TokenClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L) int64, zero is padding → latents (B, N, D)."""
        return self.model.encode(input_ids, attention_mask)[0]


def _vector_encode(model: FeatureExtractor) -> GraphSpec:
    encoder = model.config.encoder
    batch, length = Dim("B", min=1), Dim("M", min=1)
    return GraphSpec(
        name="encode",
        module=VectorEncode(model),
        example={"inputs": torch.zeros(2, 7, model.config.channels), "attention_mask": torch.ones(2, 7, dtype=torch.int64)},
        dynamic={"inputs": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
        outputs={"latents": ("B", encoder.num_latents, encoder.latent_channels)},
    )


def features_graphs(model: Any, *, image_size: tuple[int, int] | None = None) -> list[GraphSpec]:
    """What to trace for the features of a model of any task: one graph, `encode`, whose only output is `latents`."""
    if isinstance(model, OpticalFlow):
        encode = flow_graphs(model)[0]
        latents = {"latents": encode.outputs["latents"]}
        return [GraphSpec("encode", FlowFeatures(encode.module), encode.example, encode.dynamic, latents)]
    traced = traceable(model)
    if isinstance(model, TokenClassifier):
        alone = text_encode(traced)
        return [GraphSpec("encode", TokenFeatures(traced), alone.example, alone.dynamic, alone.outputs)]
    if isinstance(model, (MaskedLanguageModel, TextClassifier)):
        return [text_encode(traced)]
    if isinstance(model, ImageClassifier):
        return [image_encode(traced, image_size)]
    if isinstance(model, AudioClassifier):
        return [audio_encode(traced)]
    if isinstance(model, MultimodalAutoencoder):
        return [multimodal_encode(traced)]
    return [text_encode(traced) if model.config.text else _vector_encode(traced)]
