"""Fourier positions of a grid whose size the tracer keeps symbolic.

Each feature depends on one coordinate only, so they are computed one axis at a time and spread over the grid: exact, and a
few thousand sines instead of millions. What belongs together is left apart, for the inputs are one concatenation of it and
more: flow's positions alone are 188 MB. Always float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from perceiver_io.parts.positions import FourierPositions, fourier_features, fourier_frequencies


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


class GridFourier(nn.Module):
    """A `FourierPositions` whose frequencies are a constant of the graph: traced as a linspace, some would be off by a bit."""

    def __init__(self, positions: FourierPositions) -> None:
        super().__init__()
        frequencies = fourier_frequencies(positions.bands, positions.max_resolution)
        self.frequencies = nn.Parameter(frequencies, requires_grad=False)  # (d, bands)

    def at(self, positions: Tensor) -> Tensor:
        """positions (..., d) in [-1, 1] → (..., channels)."""
        return fourier_features(positions, self.frequencies)

    def forward(self, grid: tuple[int, ...], batch: int) -> list[Tensor]:
        """A grid of d sides, of two cells or more each → parts (batch, cells, ·) of what `FourierPositions` gives, in order."""
        by_kind: list[list[Tensor]] = [[], [], []]
        for axis, steps in enumerate(grid):
            positions = linear_positions(steps)[:, None]
            angles = math.pi * (positions * self.frequencies[axis])
            shape = [1] * (1 + len(grid)) + [-1]
            shape[1 + axis] = steps
            for parts, features in zip(by_kind, (positions, torch.sin(angles), torch.cos(angles))):
                parts.append(features.reshape(shape).expand(batch, *grid, -1).flatten(1, -2))
        return [part for parts in by_kind for part in parts]
