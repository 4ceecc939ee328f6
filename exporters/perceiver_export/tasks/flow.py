"""Optical flow as two graphs: what the tracer sees of `perceiver_io.OpticalFlow`.

The wrappers hold the model and say what depends on the data's shape as arithmetic, so that nothing of the traced size stays
in the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.grid_positions import GridFourier, linear_positions
from perceiver_export.patch_convolution import PatchConvolutionStem
from perceiver_io import OpticalFlow
from perceiver_io.parts.flow_stem import PatchStem


class FlowEncode(nn.Module):
    """frames → latents, query_features."""

    def __init__(self, model: OpticalFlow) -> None:
        super().__init__()
        self.stem, self.encoder = model.stem, model.encoder
        self.positions = GridFourier(model.positions)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames (B, 2, 3, H, W) in [-1, 1] → latents (B, N, D), query_features (B, H·W, F)."""
        tokens, query_features = self.stem(frames)
        positions = self.positions(self.stem.grid_size(frames.shape[-2], frames.shape[-1]), frames.shape[0])
        return self.encoder(torch.cat([tokens, *positions], dim=-1)), query_features


class FlowDecode(nn.Module):
    """latents, query_features, query_positions → flow."""

    def __init__(self, model: OpticalFlow) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.positions = GridFourier(model.positions)

    def forward(self, latents: Tensor, query_features: Tensor, query_positions: Tensor) -> Tensor:
        """latents (B, N, D), query_features (B, O, F), query_positions (B, O, 2) → flow (B, O, 2), model's units."""
        flow: Tensor = self.decoder(latents, torch.cat([query_features, self.positions.at(query_positions)], dim=-1))
        return flow


class FlowFused(nn.Module):
    """frames → flow at every pixel."""

    def __init__(self, model: OpticalFlow) -> None:
        super().__init__()
        self.encode, self.decode = FlowEncode(model), FlowDecode(model)

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, 2, 3, H, W) in [-1, 1] → flow (B, H·W, 2), model's units."""
        latents, query_features = self.encode(frames)
        y, x = linear_positions(frames.shape[-2]), linear_positions(frames.shape[-1])
        positions = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
        flow: Tensor = self.decode(latents, query_features, positions.expand(frames.shape[0], -1, -1))
        return flow


def flow_graphs(model: OpticalFlow, *, fused: bool = False) -> list[GraphSpec]:
    """What to trace for a flow model. The model itself is left as it is."""
    config, traced = model.config, traceable(model)
    if isinstance(traced.stem, PatchStem):
        traced.stem = PatchConvolutionStem(traced.stem)  # type: ignore[assignment]
    latents_shape = (config.encoder.num_latents, config.encoder.latent_channels)
    batch, height, width, queries = Dim("B", min=1), Dim("H", min=16), Dim("W", min=16), Dim("O", min=1)
    frames = {"frames": torch.zeros(2, 2, 3, 36, 44)}
    encode = GraphSpec(
        name="encode",
        module=FlowEncode(traced),
        example=frames,
        dynamic={"frames": {0: batch, 3: height, 4: width}},
        outputs={"latents": ("B", *latents_shape), "query_features": ("B", "H*W", config.stem.query_channels)},
    )
    decode = GraphSpec(
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
    )
    whole = GraphSpec("model", FlowFused(traced), frames, encode.dynamic, {"flow": ("B", "H*W", 2)})
    return [encode, decode] + [whole] * fused
