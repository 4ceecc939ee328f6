"""Bytes to vectors: an embedding plus a learned position."""

from __future__ import annotations

from torch import Tensor, nn

from perceiver_io.config import TextInputConfig
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import TrainablePositions


@part
class TextPreprocessor(nn.Module):
    """Token ids to vectors of `channels`."""

    def __init__(self, config: TextInputConfig, *, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.channels = config.channels
        self.embedding = nn.Embedding(config.vocab_size, config.channels)
        nn.init.normal_(self.embedding.weight, std=initializer_range)
        self.positions = TrainablePositions(config.max_positions, config.channels, initializer_range=initializer_range)

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, L) int64 → (B, L, channels). Raises `ValueError` beyond the learned positions."""
        length, limit = input_ids.shape[1], self.positions.table.shape[0]
        if length > limit:
            raise ValueError(f"{length} tokens, but the model has positions for {limit}: cut the text")
        result: Tensor = self.embedding(input_ids) + self.positions.table[:length]
        return result
