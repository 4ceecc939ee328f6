"""The model, of perceiver_io's parts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from perceiver_io import DecoderConfig, EncoderConfig
from perceiver_io.config import ProblemType
from perceiver_io.parts.decoders import ClassificationDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.tasks.registry import Task


@dataclass(frozen=True)
class SeriesConfig:
    """Series of `channels` numbers a step to labels."""

    encoder: EncoderConfig
    decoder: DecoderConfig
    labels: tuple[str, ...]
    channels: int
    problem: ProblemType = "single_label"


class SeriesClassifier(nn.Module):
    """Series to one logit per label."""

    def __init__(self, config: SeriesConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PerceiverEncoder(config.encoder, input_channels=config.channels)
        self.decoder = ClassificationDecoder(config.decoder, config.encoder, num_labels=len(config.labels))

    def encode(self, series: Tensor, attention_mask: Tensor) -> Tensor:
        """series (B, M, C), attention_mask (B, M): zero is padding → latents (B, N, D)."""
        latents: Tensor = self.encoder(series, attention_mask)
        return latents


TASK = Task(SeriesConfig, SeriesClassifier)
