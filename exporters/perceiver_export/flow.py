"""Optical flow as two graphs: what the tracer sees of `perceiver_io.OpticalFlow`.

The wrappers hold the model and say what depends on the data's shape as arithmetic, so that nothing of the traced size
stays in the graph. Fourier features are float32: for encode from the grid's shape, one axis at a time (each feature
depends on one coordinate only, so this is exact), for decode from `query_positions`.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.attention_node import use_symbolic_attention
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.patch_convolution import PatchConvolutionStem
from perceiver_io import FlowConfig, OpticalFlow
from perceiver_io.flow_stem import PatchStem
from perceiver_io.positions import fourier_features, fourier_frequencies


def linear_positions(steps: int) -> Tensor:
    """linspace(-1, 1, steps) for a number of steps the tracer keeps symbolic, up to 4096, as torch rounds it: (steps,).

    torch computes step·i - 1 with one rounding (a fused multiply-add). At the highest frequency a difference in the last
    bit turns a feature by 6e-5, hundreds of times the rounding of everything after it, so this follows: the step is split in
    two halves of 12 bits, whose products with i are exact (T. J. Dekker, 1971), and the sum keeps what rounding dropped.
    """
    index = torch.arange(steps).to(torch.float32)
    from_end = (steps - 1) - index
    in_first_half = index < steps // 2
    count = torch.where(in_first_half, index, from_end)  # steps from the nearer end
    step = torch.full_like(index, 2.0) / (steps - 1)
    scaled = step * 4097.0
    high = scaled - (scaled - step)
    product, rest = high * count, (step - high) * count
    total = product - 1.0
    lower = total + ((product - (total + 1.0)) + rest)
    return torch.where(in_first_half, lower, -lower)


def fixed_frequencies(config: FlowConfig) -> nn.Parameter:
    """The Fourier frequencies as a constant of the graph: traced as a linspace, some would differ in their last bit."""
    return nn.Parameter(fourier_frequencies(config.fourier_bands, config.train_size), requires_grad=False)


class FlowEncode(nn.Module):
    """frames → latents, query_features."""

    def __init__(self, model: OpticalFlow) -> None:
        super().__init__()
        self.stem, self.encoder = model.stem, model.encoder
        self.frequencies = fixed_frequencies(model.config)

    def _axis_features(self, steps: int, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Position (steps, 1), sines (steps, bands) and cosines (steps, bands) along one axis of the grid."""
        positions = linear_positions(steps)[:, None]
        angles = math.pi * (positions * self.frequencies[axis])
        return positions, torch.sin(angles), torch.cos(angles)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames (B, 2, 3, H, W) in [-1, 1] → latents (B, N, D), query_features (B, H·W, F)."""
        tokens, query_features = self.stem(frames)
        rows, columns = self.stem.grid_size(frames.shape[-2], frames.shape[-1])
        parts = []
        along_y, along_x = self._axis_features(rows, 0), self._axis_features(columns, 1)
        for y, x in zip(along_y, along_x):  # positions, sines, cosines; y before x in each
            parts.append(y[:, None].expand(-1, columns, -1))
            parts.append(x[None].expand(rows, -1, -1))
        positions = torch.cat(parts, dim=-1).flatten(0, 1)
        inputs = torch.cat([tokens, positions.expand(tokens.shape[0], -1, -1)], dim=-1)
        return self.encoder(inputs), query_features


class FlowDecode(nn.Module):
    """latents, query_features, query_positions → flow."""

    def __init__(self, model: OpticalFlow) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.frequencies = fixed_frequencies(model.config)

    def forward(self, latents: Tensor, query_features: Tensor, query_positions: Tensor) -> Tensor:
        """latents (B, N, D), query_features (B, O, F), query_positions (B, O, 2) → flow (B, O, 2), model's units."""
        positions = fourier_features(query_positions, self.frequencies)
        flow: Tensor = self.decoder(torch.cat([query_features, positions], dim=-1), latents)
        return flow


def flow_graphs(model: OpticalFlow) -> list[GraphSpec]:
    """What to trace for a flow model. The model itself is left as it is."""
    config: FlowConfig = model.config
    traced = copy.deepcopy(model).eval()
    use_symbolic_attention(traced)
    if isinstance(traced.stem, PatchStem):
        traced.stem = PatchConvolutionStem(traced.stem)  # type: ignore[assignment]
    latents_shape = (config.encoder.num_latents, config.encoder.latent_channels)
    batch, height, width, queries = Dim("B", min=1), Dim("H", min=16), Dim("W", min=16), Dim("O", min=1)
    return [
        GraphSpec(
            name="encode",
            module=FlowEncode(traced),
            example={"frames": torch.zeros(2, 2, 3, 36, 44)},
            dynamic={"frames": {0: batch, 3: height, 4: width}},
            outputs={"latents": ("B", *latents_shape), "query_features": ("B", "H*W", config.stem.query_channels)},
        ),
        GraphSpec(
            name="decode",
            module=FlowDecode(traced),
            example={
                "latents": torch.zeros(2, *latents_shape),
                "query_features": torch.zeros(2, 7, config.stem.query_channels),
                "query_positions": torch.zeros(2, 7, 2),
            },
            dynamic={
                "latents": {0: batch},
                "query_features": {0: batch, 1: queries},
                "query_positions": {0: batch, 1: queries},
            },
            outputs={"flow": ("B", "O", 2)},
        ),
    ]
