"""Decoders that make their queries of learned tables or of positions, as transformers' basic and multimodal decoders do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from perceiver_io.config import DecoderConfig, EncoderConfig
from perceiver_io.config_json import ConfigError
from perceiver_io.parts.decoders import BasicDecoder
from perceiver_io.parts.multimodal_preprocessor import NamedVectors
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


@part
class ModalitiesDecoder(nn.Module):
    """Queries of several modalities, padded with learned channels to one width, and the cross-attention that they share.

    Queries of a modality are a learned table (`TrainablePositions`), or positions that the caller gives (`FourierPositions`).
    """

    def __init__(
        self,
        config: DecoderConfig,
        encoder: EncoderConfig,
        *,
        modalities: Mapping[str, nn.Module],
        min_padding: int,
        output_channels: int | None,
    ) -> None:
        super().__init__()
        widths = {name: _width(name, positions) for name, positions in modalities.items()}
        channels = max(widths.values()) + min_padding
        self.modalities = nn.ModuleDict({name: modalities[name] for name in sorted(modalities)})
        self.padding = NamedVectors({name: channels - width for name, width in widths.items()})
        self.decoder = BasicDecoder(config, encoder, query_channels=channels, output_channels=output_channels)

    def forward(self, latents: Tensor, **positions: Tensor) -> dict[str, Tensor]:
        """latents (B, N, D), positions (B, O, d) in [-1, 1] by modality → (B, O, output_channels) by modality."""
        answers = {}
        for name, module in self.modalities.items():
            own = module(latents.shape[0]) if isinstance(module, TrainablePositions) else module.at(positions[name])  # type: ignore[operator]
            padded = torch.cat([own, self.padding[name].expand(*own.shape[:2], -1)], dim=-1)
            answers[name] = self.decoder(latents, padded)
        return answers


def _width(name: str, positions: nn.Module) -> int:
    if isinstance(positions, TrainablePositions):
        return int(positions.table.shape[1])
    if isinstance(positions, FourierPositions):
        return positions.channels
    raise ConfigError(f"{name} is a {type(positions).__name__}: its queries are TrainablePositions or FourierPositions")
