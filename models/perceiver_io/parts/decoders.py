"""From latents to answers: queries attend to the latents once, and a linear layer makes the outputs.

Each query attends on its own: decoding some queries gives the same as decoding all and picking.
"""

from __future__ import annotations

from torch import Tensor, nn

from perceiver_io.config import DecoderConfig, EncoderConfig
from perceiver_io.parts.attention import CrossAttentionLayer
from perceiver_io.parts.part import part
from perceiver_io.parts.positions import FourierPositions, TrainablePositions


@part
class BasicDecoder(nn.Module):
    """One cross-attention from queries to latents, one linear layer (left out where `output_channels` is None)."""

    def __init__(
        self, config: DecoderConfig, encoder: EncoderConfig, *, query_channels: int, output_channels: int | None
    ) -> None:
        super().__init__()
        self.cross_attention = CrossAttentionLayer(
            q_channels=query_channels,
            kv_channels=encoder.latent_channels,
            heads=config.heads,
            qk_channels=config.qk_channels,
            v_channels=config.v_channels,
            widening=config.widening,
            query_residual=config.query_residual,
            activation=encoder.activation,
            dropout=encoder.attention_dropout,
        )
        self.output = nn.Identity() if output_channels is None else nn.Linear(query_channels, output_channels)

    def forward(self, latents: Tensor, queries: Tensor) -> Tensor:
        """latents (B, N, D), queries (B, O, query_channels) → (B, O, output_channels or query_channels)."""
        result: Tensor = self.output(self.cross_attention(queries, latents))
        return result


@part
class FlowDecoder(BasicDecoder):
    """Queries to optical flow, the last layer's output divided by `rescale_factor`."""

    def __init__(
        self, config: DecoderConfig, encoder: EncoderConfig, *, query_channels: int, rescale_factor: float = 100.0
    ) -> None:
        super().__init__(config, encoder, query_channels=query_channels, output_channels=2)
        self.rescale_factor = rescale_factor

    def forward(self, latents: Tensor, queries: Tensor) -> Tensor:
        """latents (B, N, D), queries (B, O, query_channels) → flow (B, O, 2) in the model's units."""
        return super().forward(latents, queries) / self.rescale_factor


@part
class ClassificationDecoder(BasicDecoder):
    """A single learned query for all labels."""

    def __init__(self, config: DecoderConfig, encoder: EncoderConfig, *, num_labels: int) -> None:
        super().__init__(config, encoder, query_channels=encoder.latent_channels, output_channels=num_labels)
        self.queries = TrainablePositions(1, encoder.latent_channels, initializer_range=encoder.initializer_range)

    def forward(self, latents: Tensor, queries: Tensor | None = None) -> Tensor:
        """latents (B, N, D) → logits (B, num_labels). `queries` (B, 1, D) replaces the learned query."""
        if queries is None:
            queries = self.queries(latents.shape[0])
        return super().forward(latents, queries)[:, 0]


@part
class ProjectionDecoder(nn.Module):
    """The mean of the latents through one linear layer: a baseline without cross-attention."""

    def __init__(self, encoder: EncoderConfig, *, num_labels: int) -> None:
        super().__init__()
        self.output = nn.Linear(encoder.latent_channels, num_labels)

    def forward(self, latents: Tensor) -> Tensor:
        """latents (B, N, D) → logits (B, num_labels)."""
        result: Tensor = self.output(latents.mean(dim=1))
        return result


@part
class VideoDecoder(BasicDecoder):
    """A query per pixel of a clip, its Fourier position: latents to frames."""

    def __init__(
        self,
        config: DecoderConfig,
        encoder: EncoderConfig,
        *,
        size: tuple[int, int, int],
        bands: int,
        max_resolution: tuple[int, int, int],
        output_channels: int,
    ) -> None:
        positions = FourierPositions(bands, max_resolution)
        super().__init__(config, encoder, query_channels=positions.channels, output_channels=output_channels)
        self.size, self.positions = size, positions

    def forward(self, latents: Tensor, queries: Tensor | None = None) -> Tensor:
        """latents (B, N, D) → (B, T, H, W, output_channels) of `size`.

        With `queries` (B, O, 3), positions as (time, y, x) in [-1, 1], only those: (B, O, output_channels).
        """
        if queries is not None:
            return super().forward(latents, self.positions.at(queries))
        everywhere = self.positions(self.size, device=latents.device).expand(latents.shape[0], -1, -1)
        return super().forward(latents, everywhere).view(latents.shape[0], *self.size, -1)
