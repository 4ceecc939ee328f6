"""What graphs are made for: one record a target says what becomes of attentions, which precisions it has, what it may store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx_ir as ir

from perceiver_export.analysis.attention_shapes import attention_shapes
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.attention.lower_attention_cuda import lower_attention_cuda
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.attention.lower_attention_tensorrt import lower_attention_tensorrt
from perceiver_export.passes.table import ALL_PASSES

TargetName = Literal["ort", "cuda", "tensorrt"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Lower = Callable[[ir.Model, GraphSpec, Mapping[str, int], str, int], Sequence[Any] | None]


@dataclass(frozen=True)
class Target:
    """A target.

    `lower` replaces the attentions of a traced graph, for the largest sizes by name, a precision and the bytes that a stored
    score matrix may have; where it decides what a kernel will be, it returns that, an entry an attention. `fusions` are the
    precisions in which ONNX Runtime's own operators are used. With `profiles` an engine takes memory for the largest of all
    sizes, so these are kept small; without, memory is planned for a batch of one.
    """

    runs_on: str
    precisions: tuple[Precision, ...]
    memory_budget: int  # bytes of a stored score matrix
    lower: Lower
    fusions: tuple[Precision, ...] = ()
    profiles: bool = False
    fused: bool = True  # whether it runs one graph of the whole model


def _lower_ort(graph: ir.Model, spec: GraphSpec, sizes: Mapping[str, int], precision: str, budget: int) -> None:
    lower_attention_ort(graph, attention_shapes(graph, spec, {**sizes, "B": 1}), budget=budget)


def _lower_cuda(graph: ir.Model, spec: GraphSpec, sizes: Mapping[str, int], precision: str, budget: int) -> None:
    lower_attention_cuda(graph)


def _lower_tensorrt(graph: ir.Model, spec: GraphSpec, sizes: Mapping[str, int], precision: str, budget: int) -> Sequence[Any]:
    return lower_attention_tensorrt(graph, attention_shapes(graph, spec, sizes), precision, budget=budget)


TARGETS: dict[str, Target] = {
    "ort": Target("ONNX Runtime", ("fp32", "fp16", "int8"), 192 << 20, _lower_ort, fusions=("fp32", "int8")),
    "cuda": Target("ONNX Runtime with CUDA", ("fp32", "fp16"), 192 << 20, _lower_cuda, fusions=("fp32",)),
    "tensorrt": Target("TensorRT", ("fp32", "fp16", "bf16"), 512 << 20, _lower_tensorrt, profiles=True, fused=False),
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
