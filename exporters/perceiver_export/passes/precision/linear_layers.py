"""What of a graph may compute in 8 bits: linear layers with at least 32 channels on both sides."""

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
    """Something that may be in 8 bits: its name, unique in its graph, what it is applied to, its work for a row of that."""

    name: str
    x: ir.Value
    operations: int


@dataclass(frozen=True)
class LinearLayer(Layer):
    """A linear layer. Its name is its module's, with a number where the module is applied again."""

    linear: Linear


def linear_layers(model: ir.Model) -> list[LinearLayer]:
    """A traced graph's, in its order, before name_by_module.py drops what says which module a node is of."""
    seen: Counter[str] = Counter()
    found = []
    for node in model.graph:
        layer = linear_at(node)
        if layer is None or min(_shape(layer)) < MIN_CHANNELS:
            continue
        name = module_of(node) or "linear"
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}_{seen[name]}"
        found.append(LinearLayer(unique, layer.x, 2 * math.prod(_shape(layer)), layer))
    return found


def _shape(layer: Linear) -> tuple[int, ...]:
    """(in, out)."""
    weight = layer.product.inputs[1]
    assert weight is not None  # a linear layer has one
    assert weight.const_value is not None
    return tuple(weight.const_value.numpy().shape)
