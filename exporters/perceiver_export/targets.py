"""What graphs are made for: one record a target says what becomes of attentions, which precisions it has, what it may store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx_ir as ir

from perceiver_export.analysis.attention_shapes import attention_shapes
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.attention.lower_attention_tensorrt import lower_attention_tensorrt
from perceiver_export.passes.precision.linear_layers import Layer, Magnitudes, linear_layers
from perceiver_export.passes.precision.quantize import quantize
from perceiver_export.passes.precision.quantize_linear import quantize_linear
from perceiver_export.passes.precision.quantize_scores import quantize_scores, score_products
from perceiver_export.passes.table import ALL_PASSES

TargetName = Literal["ort", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
EIGHT_BITS: tuple[Precision, ...] = ("int8", "fp8")
Quantize = Callable[[ir.Model, Magnitudes, str], int]
Lower = Callable[[ir.Model, GraphSpec, Mapping[str, int], str, int], Sequence[Any] | None]


@dataclass(frozen=True)
class Target:
    """A target.

    `lower` replaces the attentions of a traced graph, for the largest sizes by name, a precision and the bytes that a stored
    score matrix may have; where it decides what a kernel will be, it returns that, an entry an attention. `quantize` puts
    some of its `eight_bit_layers` into one of `EIGHT_BITS`, by the magnitudes of what they are applied to, and the rest is in
    the precision `around`; with `clips` a range below the largest magnitude may be better. `fusions` are the precisions in
    which ONNX Runtime's own operators are used. With `profiles` an engine takes memory for the largest of all sizes, so these
    are kept small; without, memory is planned for a batch of one.
    """

    runs_on: str
    precisions: tuple[Precision, ...]
    memory_budget: int  # bytes of a stored score matrix
    lower: Lower
    eight_bit_layers: Callable[[ir.Model], Sequence[Layer]]
    quantize: Quantize
    around: Precision = "fp32"
    clips: bool = False
    fusions: tuple[Precision, ...] = ()
    profiles: bool = False
    fused: bool = True  # whether it runs one graph of the whole model


def _lower_ort(graph: ir.Model, spec: GraphSpec, sizes: Mapping[str, int], precision: str, budget: int) -> None:
    lower_attention_ort(graph, attention_shapes(spec, {**sizes, "B": 1}), budget=budget)


def _lower_tensorrt(graph: ir.Model, spec: GraphSpec, sizes: Mapping[str, int], precision: str, budget: int) -> Sequence[Any]:
    return lower_attention_tensorrt(graph, attention_shapes(spec, sizes), precision, budget=budget)


def _layers_ort(graph: ir.Model) -> Sequence[Layer]:
    return [*linear_layers(graph), *score_products(graph)]


def _quantize_ort(graph: ir.Model, layers: Magnitudes, precision: str) -> int:
    return quantize_scores(graph, layers) + quantize(graph, layers)


TARGETS: dict[str, Target] = {
    "ort": Target(
        "ONNX Runtime", ("fp32", "fp16", "int8"), 192 << 20, _lower_ort, _layers_ort, _quantize_ort, fusions=("fp32", "int8")
    ),
    "tensorrt": Target(
        "TensorRT",
        ("fp32", "fp16", "bf16", "int8", "fp8"),
        512 << 20,
        _lower_tensorrt,
        linear_layers,
        quantize_linear,
        around="fp16",
        clips=True,
        profiles=True,
        fused=False,
    ),
}


@dataclass(frozen=True)
class Lowering:
    """What the graphs are made for.

    `passes` are those of `ALL_PASSES` to apply. `sizes` are the largest dynamic sizes, by name, and `memory_budget` the bytes
    that a stored score matrix may have at those, for ONNX Runtime in a batch of one.
    """

    target: TargetName = "ort"
    precision: Precision = "fp32"
    sizes: Mapping[str, int] = field(default_factory=dict)
    memory_budget: int = 512 << 20
    passes: tuple[str, ...] = ALL_PASSES

    @property
    def arithmetic(self) -> Precision:
        """What everything but layers in 8 bits is computed in."""
        return TARGETS[self.target].around if self.precision in EIGHT_BITS else self.precision


def every_layer(target: TargetName) -> Callable[..., dict[str, dict[str, float]]]:
    """A choice for `export_graphs` that asks for no accuracy: all layers, in a range for normalised activations."""

    def choose(graphs: Mapping[str, ir.Model], finish: object = None) -> dict[str, dict[str, float]]:
        find = TARGETS[target].eight_bit_layers
        return {name: {layer.name: 8.0 for layer in find(graph)} for name, graph in graphs.items()}

    return choose
