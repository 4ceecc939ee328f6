"""Masked bytes: which byte stood at a position of a text (arXiv 2107.14795, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.config import FillMaskConfig
from perceiver_io.parts.decoders import BasicDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.positions import TrainablePositions
from perceiver_io.parts.text_preprocessor import TextPreprocessor

IGNORED = -100  # a label that does not count


class MaskedLanguageModel(nn.Module):
    """Text to scores for each byte: `encode` once, `decode` any positions.

    >>> model(input_ids, attention_mask).shape  # (B, L, vocab_size)
    """

    def __init__(self, config: FillMaskConfig) -> None:
        super().__init__()
        self.config = config
        deviation = config.encoder.initializer_range
        self.preprocessor = TextPreprocessor(config.text, initializer_range=deviation)
        self.encoder = PerceiverEncoder(config.encoder, input_channels=config.text.channels)
        self.queries = TrainablePositions(config.text.max_positions, config.text.channels, initializer_range=deviation)
        self.decoder = BasicDecoder(config.decoder, config.encoder, query_channels=config.text.channels, output_channels=None)
        self.output_bias = nn.Parameter(torch.zeros(config.text.vocab_size))

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids (B, L) int64, attention_mask (B, L): zero is padding → latents (B, N, D)."""
        latents: Tensor = self.encoder(self.preprocessor(input_ids), attention_mask)
        return latents

    def decode(self, latents: Tensor, query_positions: Tensor) -> Tensor:
        """latents (B, N, D), query_positions (B, O) int64, places in the text → logits (B, O, vocab_size)."""
        decoded = self.decoder(latents, F.embedding(query_positions, self.queries.table))
        logits: Tensor = decoded @ self.preprocessor.embedding.weight.transpose(0, 1) + self.output_bias
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids (B, L), attention_mask (B, L) → logits (B, L, vocab_size) at every position of the input."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape[0], -1)
        return self.decode(self.encode(input_ids, attention_mask), positions)


def fill_mask_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the labelled positions: logits (B, L, V), labels (B, L), `IGNORED` elsewhere → scalar."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
