"""The linear layers that may compute in 8 bits: those with a stored weight and bias and at least 32 channels on both sides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from perceiver_export.passes.exact.name_by_module import module_of
from perceiver_export.passes.patterns import Linear, linear_at

MIN_CHANNELS = 32  # a smaller layer has little to gain

Magnitudes = Mapping[str, float]  # by layer: the largest magnitude that the values it is applied to are given


@dataclass(frozen=True)
class Layer:
    """A layer. `name` is its module's, with a number where the module is applied again."""

    name: str
    linear: Linear

    @property
    def operations(self) -> int:
        """Multiplications and additions for each row that it is applied to."""
        return 2 * math.prod(weight_shape(self.linear))


def weight_shape(layer: Linear) -> tuple[int, ...]:
    """(in, out)."""
    weight = layer.product.inputs[1]
    assert weight is not None  # a linear layer has one
    assert weight.const_value is not None
    return tuple(weight.const_value.numpy().shape)


def linear_layers(model: ir.Model) -> list[Layer]:
    """A traced graph's, in its order, before name_by_module.py drops what says which module a node is of."""
    seen: Counter[str] = Counter()
    found = []
    for node in model.graph:
        layer = linear_at(node)
        if layer is None or min(weight_shape(layer)) < MIN_CHANNELS:
            continue
        name = module_of(node) or "linear"
        seen[name] += 1
        found.append(Layer(name if seen[name] == 1 else f"{name}_{seen[name]}", layer))
    return found


def every_layer(graphs: Mapping[str, ir.Model], finish: object = None) -> dict[str, dict[str, float]]:
    """A choice for `export_graphs` that asks for no accuracy: all layers, in a range for normalised activations."""
    return {name: {layer.name: 8.0 for layer in linear_layers(graph)} for name, graph in graphs.items()}
