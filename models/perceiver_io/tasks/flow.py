"""Optical flow: which way each pixel of the first frame moves to reach its place in the second.

Every pixel of the first frame is an output query: its stem features and its position ask the latents for the motion
(arXiv 2107.14795, section 4.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from perceiver_io.config import FlowConfig
from perceiver_io.parts.decoders import FlowDecoder
from perceiver_io.parts.encoder import PerceiverEncoder
from perceiver_io.parts.flow_stem import FLOW_STEMS
from perceiver_io.parts.positions import FourierPositions, grid_positions


class OpticalFlow(nn.Module):
    """Two frames to a field of motion, in two steps that may be used apart: `encode` once, `decode` any pixels.

    >>> model = OpticalFlow(FlowConfig())
    >>> model(torch.zeros(1, 2, 3, 368, 496)).shape
    torch.Size([1, 368, 496, 2])
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = FLOW_STEMS[config.stem.kind](config.stem)
        self.positions = FourierPositions(config.fourier_bands, config.train_size)
        self.encoder = PerceiverEncoder(config.encoder, input_channels=config.stem.channels + self.positions.channels)
        self.decoder = FlowDecoder(
            config.decoder,
            config.encoder,
            query_channels=config.stem.query_channels + self.positions.channels,
            rescale_factor=config.rescale_factor,
        )

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames (B, 2, 3, H, W) in [-1, 1] → latents (B, N, D), query_features (B, H·W, query_channels)."""
        tokens, query_features = self.stem(frames)
        grid = self.stem.grid_size(frames.shape[-2], frames.shape[-1])
        positions = self.positions(grid, device=frames.device).to(tokens.dtype)
        inputs = torch.cat([tokens, positions.expand(tokens.shape[0], -1, -1)], dim=-1)
        return self.encoder(inputs), query_features

    def decode(self, latents: Tensor, query_features: Tensor, query_positions: Tensor) -> Tensor:
        """Flow at chosen pixels.

        latents (B, N, D), query_features (B, O, query_channels), query_positions (B, O, 2) as (y, x) in [-1, 1] →
        (B, O, 2) as (dx, dy) in the model's units: times `config.flow_scale` for pixels.
        """
        positions = self.positions.at(query_positions).to(query_features.dtype)
        flow: Tensor = self.decoder(latents, torch.cat([query_features, positions], dim=-1))
        return flow

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, 2, 3, H, W) in [-1, 1] → flow (B, H, W, 2) as (dx, dy) in the model's units."""
        batch, height, width = frames.shape[0], frames.shape[-2], frames.shape[-1]
        latents, query_features = self.encode(frames)
        positions = grid_positions((height, width), device=frames.device).expand(batch, -1, -1)
        return self.decode(latents, query_features, positions).view(batch, height, width, 2)


def flow_loss(predicted: Tensor, target: Tensor, *, flow_scale: float) -> Tensor:
    """Mean end-point error in pixels: predicted (..., 2) in the model's units, target (..., 2) in pixels → scalar."""
    error: Tensor = torch.linalg.vector_norm(predicted * flow_scale - target, dim=-1).mean()
    return error
