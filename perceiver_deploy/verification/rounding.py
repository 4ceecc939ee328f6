"""How much a network amplifies rounding: how far its own answer moves when every layer is off by one unit in the last place.

Two correct float32 implementations differ by about this much, so it bounds what a comparison can ask for. (Stochastic
arithmetic, as in Parker's Monte Carlo arithmetic and Vignes' CESTAC, at the level of layers.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

UNIT = 2.0**-23  # in the last place of float32, relative
DRAWS = 3


@contextlib.contextmanager
def off_by_one_unit(model: nn.Module, seed: int) -> Iterator[None]:
    """Let each layer's float32 results be off by one unit in the last place, up or down at random."""
    generator = torch.Generator().manual_seed(seed)

    def disturb(module: nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
            return output
        signs = torch.randint(0, 2, output.shape, generator=generator, dtype=torch.int8).float() * 2 - 1
        return output * (1 + UNIT * signs)

    layers = [module for module in model.modules() if not list(module.children())]
    handles = [layer.register_forward_hook(disturb) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rounding_noise(model: nn.Module, answer: Callable[[], dict[str, Any]]) -> dict[str, float]:
    """The largest change of each output of `answer()`, which runs `model`, over a few draws."""
    expected = answer()
    noise = dict.fromkeys(expected, 0.0)
    for seed in range(DRAWS):
        with off_by_one_unit(model, seed):
            found = answer()
        for name, array in expected.items():
            noise[name] = max(noise[name], float(np.abs(found[name] - array).max()))
    return noise
