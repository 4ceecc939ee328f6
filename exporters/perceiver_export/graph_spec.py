"""What the tracer needs to know of one graph."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from perceiver_export.attention_node import use_symbolic_attention

Model = TypeVar("Model", bound=nn.Module)


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
    foreign: bool = False  # whether modules of other packages may be in it


def traceable(model: Model) -> Model:
    """A copy of the model in evaluation mode whose attentions trace as single nodes."""
    traced = copy.deepcopy(model).eval()
    use_symbolic_attention(traced)
    return traced
