"""What the tracer needs to know of one graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class GraphSpec:
    """One graph: the wrapper to trace, an example of each input by name, which axes are dynamic, the outputs' shapes.

    `dynamic` maps an input's name to {axis: torch.export.Dim}. `outputs` maps an output's name to its shape, where a
    string is a symbol and a number is fixed.
    """

    name: str
    module: nn.Module
    example: dict[str, Tensor]
    dynamic: dict[str, dict[int, Any]]
    outputs: dict[str, tuple[str | int, ...]]
