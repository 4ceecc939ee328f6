"""Audio classification as graphs: windows of one length, from plain samples on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.tasks.text import label_decode
from perceiver_io import AudioClassifier


class AudioEncode(nn.Module):
    """audio → latents."""

    def __init__(self, model: AudioClassifier) -> None:
        super().__init__()
        self.preprocessor, self.encoder = model.preprocessor, model.encoder

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, S) in [-1, 1] → latents (B, N, D)."""
        latents: Tensor = self.encoder(self.preprocessor(audio))
        return latents


class AudioClassifierFused(nn.Module):
    """audio → logits."""

    def __init__(self, encode: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encode, self.decoder = encode, decoder

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, S) in [-1, 1] → logits (B, labels)."""
        logits: Tensor = self.decoder(self.encode(audio))
        return logits


def audio_encode(traced: AudioClassifier) -> GraphSpec:
    """The encoder of a traceable audio model."""
    encoder, audio = traced.config.encoder, traced.config.audio
    return GraphSpec(
        name="encode",
        module=AudioEncode(traced),
        example={"audio": torch.linspace(-1, 1, audio.samples).repeat(2, 1)},
        dynamic={"audio": {0: Dim("B", min=1)}},
        outputs={"latents": ("B", encoder.num_latents, encoder.latent_channels)},
    )


def audio_classification_graphs(model: AudioClassifier, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace for classification of sounds."""
    traced = traceable(model)
    encode, decode = audio_encode(traced), label_decode(traced)
    module = AudioClassifierFused(encode.module, traced.decoder)
    whole = GraphSpec("model", module, encode.example, encode.dynamic, decode.outputs)
    return [encode, decode] + [whole] * fused
