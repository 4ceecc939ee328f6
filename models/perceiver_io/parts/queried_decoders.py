"""Decoders that make their queries of a learned table or of positions, as transformers' basic decoder does."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from perceiver_io.config import DecoderConfig, EncoderConfig
from perceiver_io.parts.decoders import BasicDecoder
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions, TrainablePositions


@part
class LearnedQueriesDecoder(BasicDecoder):
    """A fixed set of learned queries, each answered: latents to (B, count, output_channels).

    With `projected` the table has `query_channels` numbers, and a linear layer makes queries of `projected` ones of them.
    """

    def __init__(
        self,
        config: DecoderConfig,
        encoder: EncoderConfig,
        *,
        count: int,
        query_channels: int,
        output_channels: int | None,
        projected: int | None = None,
        first_only: bool = False,
    ) -> None:
        super().__init__(config, encoder, query_channels=projected or query_channels, output_channels=output_channels)
        self.queries = TrainablePositions(count, query_channels, initializer_range=encoder.initializer_range)
        self.projection = nn.Linear(query_channels, projected) if projected else nn.Identity()
        self.first_only = first_only

    def forward(self, latents: Tensor, queries: Tensor | None = None) -> Tensor:
        """latents (B, N, D) → (B, count, output_channels), with `first_only` (B, output_channels)."""
        table: Tensor = self.projection(self.queries(latents.shape[0]) if queries is None else queries)
        answers = super().forward(latents, table)
        return answers[:, 0] if self.first_only else answers


@part
class PositionsDecoder(BasicDecoder):
    """Queries are positions in [-1, 1], given by their Fourier features: latents and (B, O, d) to (B, O, output_channels)."""

    def __init__(
        self,
        config: DecoderConfig,
        encoder: EncoderConfig,
        *,
        bands: int,
        max_resolution: Sequence[int],
        output_channels: int | None,
    ) -> None:
        positions = FourierPositions(bands, max_resolution)
        super().__init__(config, encoder, query_channels=positions.channels, output_channels=output_channels)
        self.positions = positions

    def forward(self, latents: Tensor, queries: Tensor) -> Tensor:
        """latents (B, N, D), queries (B, O, d) in [-1, 1] → (B, O, output_channels)."""
        return super().forward(latents, self.positions.at(queries))
