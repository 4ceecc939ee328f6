"""Where an input or a query sits: Fourier features of a position in [-1, 1], or a learned table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceiver_io.parts.part import part


def grid_positions(size: Sequence[int], *, device: torch.device | None = None) -> Tensor:
    """Positions of all cells of a grid, row-major, each axis linspace(-1, 1) with both ends: (prod(size), len(size))."""
    axes = [torch.linspace(-1.0, 1.0, steps, device=device) for steps in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def fourier_frequencies(bands: int, max_resolution: Sequence[int]) -> Tensor:
    """Per axis, `bands` frequencies from 1 to the Nyquist frequency of its resolution over [-1, 1]: (d, bands)."""
    return torch.stack([torch.linspace(1.0, resolution / 2, bands) for resolution in max_resolution])


def fourier_features(positions: Tensor, frequencies: Tensor) -> Tensor:
    """Positions (..., d) in [-1, 1], frequencies (d, bands) → (..., d + 2·d·bands).

    In this order: positions, sin(π·f·p) axis by axis, cos(π·f·p) likewise. Source: arXiv 2103.03206, section 3.2. Always
    computed in float32: at the highest frequency, half precision is off by whole periods.
    """
    positions = positions.float()
    angles = math.pi * (positions[..., None] * frequencies.to(positions.device)).flatten(-2)  # (..., d·bands)
    return torch.cat([positions, torch.sin(angles), torch.cos(angles)], dim=-1)


@part
class TrainablePositions(nn.Module):
    """A learned vector per index."""

    def __init__(self, count: int, channels: int, *, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(count, channels) * initializer_range)

    def forward(self, batch: int) -> Tensor:
        """The whole table for each item of a batch: (batch, count, channels)."""
        return self.table.expand(batch, -1, -1)


@part
class FourierPositions(nn.Module):
    """Fourier features of a grid, or of any positions. Nothing is learned."""

    def __init__(self, bands: int, max_resolution: Sequence[int]) -> None:
        super().__init__()
        self.bands, self.max_resolution = bands, tuple(max_resolution)
        self.channels = len(self.max_resolution) * (1 + 2 * bands)

    def at(self, positions: Tensor) -> Tensor:
        """positions (..., d) in [-1, 1] → (..., channels), float32."""
        return fourier_features(positions, fourier_frequencies(self.bands, self.max_resolution))

    def forward(self, grid: Sequence[int], *, device: torch.device | None = None) -> Tensor:
        """A grid of d sides → (cells, channels), float32."""
        return self.at(grid_positions(grid, device=device))


@part
class LearnedGrid(nn.Module):
    """A learned vector for each cell of a two-dimensional grid, then a linear layer."""

    def __init__(self, grid: tuple[int, int], channels: int, *, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.grid, self.channels = grid, channels
        self.table = nn.Parameter(torch.randn(grid[0] * grid[1], channels) * initializer_range)
        self.projection = nn.Linear(channels, channels)

    def forward(self, grid: Sequence[int], *, device: torch.device | None = None) -> Tensor:
        """(cells, channels). For another grid than the learned one, the table is interpolated bicubically."""
        table: Tensor = self.table
        if tuple(grid) != self.grid:
            cells = table.view(1, *self.grid, self.channels).permute(0, 3, 1, 2)
            resized = F.interpolate(cells, size=tuple(grid), mode="bicubic", align_corners=False)
            table = resized.flatten(2)[0].transpose(0, 1)
        result: Tensor = self.projection(table)
        return result
