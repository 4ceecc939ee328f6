"""Parts of perceiver_io that trace better in another form, wherever a model has them.

Each has the interface of what it stands for and gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perceiver_export.grid_positions import GridFourier
from perceiver_export.patch_convolution import PatchConvolutionStem
from perceiver_io.parts.flow_stem import PatchStem
from perceiver_io.parts.positions import FourierPositions


class TracedFourier(nn.Module):
    """A `FourierPositions` for grids whose size the tracer keeps symbolic."""

    def __init__(self, positions: FourierPositions) -> None:
        super().__init__()
        self.grid, self.channels = GridFourier(positions), positions.channels

    def at(self, positions: Tensor) -> Tensor:
        """positions (..., d) in [-1, 1] → (..., channels)."""
        return self.grid.at(positions)

    def forward(self, grid: Sequence[int], *, device: torch.device | None = None) -> Tensor:
        """A grid of d sides, of two cells or more each → (cells, channels)."""
        return torch.cat(self.grid(tuple(grid), 1), dim=-1)[0]


SUBSTITUTES: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    FourierPositions: TracedFourier,
    PatchStem: PatchConvolutionStem,
}


def use_substitutes(model: nn.Module) -> None:
    """Put them into `model`. Changes the model: give a copy."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            substitute = SUBSTITUTES.get(type(child))
            if substitute is not None:
                setattr(module, name, substitute(child))
