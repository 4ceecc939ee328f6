"""Image classification as graphs.

With Fourier positions any size runs. Learned positions are a constant of the graph: of the size trained on, or interpolated
for another one at export.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.grid_positions import GridFourier
from perceiver_export.tasks.text import label_decode
from perceiver_io import ImageClassifier
from perceiver_io.parts.image_preprocessor import grid_size
from perceiver_io.parts.positions import LearnedGrid

SMALLEST = 16  # pixels a side


class FixedPositions(nn.Module):
    """Learned positions of one grid, projected: a constant."""

    def __init__(self, positions: LearnedGrid, grid: tuple[int, int]) -> None:
        super().__init__()
        with torch.no_grad():
            self.table = nn.Parameter(positions(grid).clone(), requires_grad=False)

    def forward(self, grid: tuple[int, ...], batch: int) -> list[Tensor]:
        """(batch, cells, channels), whatever `grid` says."""
        return [self.table.expand(batch, -1, -1)]


class ImageEncode(nn.Module):
    """pixel_values → latents."""

    def __init__(self, model: ImageClassifier, size: tuple[int, int]) -> None:
        super().__init__()
        self.preprocessor, self.encoder = model.preprocessor, model.encoder
        positions = model.preprocessor.positions
        self.positions: nn.Module
        if isinstance(positions, LearnedGrid):
            image = model.config.image
            self.positions = FixedPositions(positions, grid_size(type(image)(**{**vars(image), "size": size})))
            del self.preprocessor.positions
        else:
            self.positions = GridFourier(positions)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, 3, H, W), normalised → latents (B, N, D)."""
        tokens = self.preprocessor.features(pixel_values)  # (B, h, w, channels)
        positions = self.positions((tokens.shape[1], tokens.shape[2]), tokens.shape[0])
        latents: Tensor = self.encoder(torch.cat([tokens.flatten(1, 2), *positions], dim=-1))
        return latents


class ImageClassifierFused(nn.Module):
    """pixel_values → logits."""

    def __init__(self, encode: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encode, self.decoder = encode, decoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        """pixel_values (B, 3, H, W), normalised → logits (B, labels)."""
        logits: Tensor = self.decoder(self.encode(pixel_values))
        return logits


def image_encode(traced: ImageClassifier, size: tuple[int, int] | None) -> GraphSpec:
    """The encoder of a traceable image model, for images of `size` where its positions are learned."""
    config = traced.config
    encoder, image = config.encoder, config.image
    size = size or image.size
    dynamic: dict[int, Any] = {0: Dim("B", min=1)}
    example = size
    if image.positions == "fourier":
        step = image.downsample if image.kind == "patches" else 1
        least = max(2, -(-SMALLEST // step))
        height, width = Dim("H", min=least), Dim("W", min=least)
        dynamic |= {2: step * height, 3: step * width} if step > 1 else {2: height, 3: width}
        example = (36 * step, 44 * step)
    return GraphSpec(
        name="encode",
        module=ImageEncode(traced, size),
        example={"pixel_values": torch.zeros(2, image.image_channels, *example)},
        dynamic={"pixel_values": dynamic},
        outputs={"latents": ("B", encoder.num_latents, encoder.latent_channels)},
    )


def image_classification_graphs(
    model: ImageClassifier, *, fused: bool = False, image_size: tuple[int, int] | None = None
) -> list[GraphSpec]:
    """What to trace for classification of images."""
    traced = traceable(model)
    encode, decode = image_encode(traced, image_size), label_decode(traced)
    module = ImageClassifierFused(encode.module, traced.decoder)
    whole = GraphSpec("model", module, encode.example, encode.dynamic, decode.outputs)
    return [encode, decode] + [whole] * fused
