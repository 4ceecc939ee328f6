"""A model to its graphs in a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnx_ir as ir
from torch import nn

from perceiver_export.attention_shapes import attention_shapes
from perceiver_export.cost import UnknownCost, graph_cost
from perceiver_export.features import features_graphs
from perceiver_export.flow import flow_graphs
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.image import image_classification_graphs
from perceiver_export.memory_plan import memory_plan
from perceiver_export.multimodal import multimodal_graphs
from perceiver_export.passes.absorb_keys import absorb_keys
from perceiver_export.passes.absorb_last import absorb_last
from perceiver_export.passes.absorb_queries import absorb_queries
from perceiver_export.passes.fold_expanded import fold_expanded
from perceiver_export.passes.fold_transposes import fold_transposes
from perceiver_export.passes.fuse_biases import fuse_biases
from perceiver_export.passes.fuse_gelu import fuse_gelu
from perceiver_export.passes.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.lower_attention_tensorrt import lower_attention_tensorrt
from perceiver_export.passes.lower_precision import LOWER, lower_precision
from perceiver_export.passes.name_by_module import name_by_module
from perceiver_export.passes.quantize import quantize
from perceiver_export.passes.share_initializers import share_initializers
from perceiver_export.shared_weights import save_graphs
from perceiver_export.text import fill_mask_graphs, text_classification_graphs
from perceiver_export.trace import trace

GRAPHS: dict[str, Callable[..., list[GraphSpec]]] = {
    "flow": flow_graphs,
    "fill-mask": fill_mask_graphs,
    "text-classification": text_classification_graphs,
    "image-classification": image_classification_graphs,
    "multimodal": multimodal_graphs,
    "features": features_graphs,
}


# exact rewrites that may be left out, in the order they are applied; each says how often it applied
PASSES: dict[str, Callable[[ir.Model], int]] = {
    "absorb_keys": absorb_keys,
    "absorb_queries": absorb_queries,
    "absorb_last": absorb_last,
}
# after attentions were lowered, for which TensorRT pads the layers that make queries
FOLDS: dict[str, Callable[[ir.Model], int]] = {"fold_expanded": fold_expanded}
# into operators of ONNX Runtime's own, in float32, after layers were quantized
FUSIONS: dict[str, Callable[[ir.Model], int]] = {
    "fuse_gelu": fuse_gelu,
    "fuse_biases": fuse_biases,
}
ALL_PASSES = (*PASSES, *FOLDS, *FUSIONS)


class MissingPlanWarning(UserWarning):
    """A bundle can have no memory plan."""


class ExportedGraphs(NamedTuple):
    """What was traced, and what was decided for the manifest: see `perceiver_runtime.manifest.Manifest.choices`."""

    specs: list[GraphSpec]
    choices: dict[str, Any]


@dataclass(frozen=True)
class Lowering:
    """What the graphs are made for.

    `passes` are those of `ALL_PASSES` to apply. `sizes` are the largest dynamic sizes, by name, and `memory_budget` the bytes
    that a stored score matrix may have at those, for ONNX Runtime in a batch of one.
    """

    target: Literal["ort", "tensorrt"] = "ort"
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    sizes: Mapping[str, int] = field(default_factory=dict)
    memory_budget: int = 512 << 20
    passes: tuple[str, ...] = ALL_PASSES


def _saved(before: ir.Model, after: ir.Model, sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Operations and bytes moved, before passes and after."""
    costs = {"before": graph_cost(before, sizes), "after": graph_cost(after, sizes)}
    return {name: {"flops": cost.flops, "moved_bytes": cost.moved_bytes} for name, cost in costs.items()}


def export_graphs(
    task: str,
    model: nn.Module,
    folder: Path,
    *,
    progress: Callable[[str], None],
    lowering: Lowering | None = None,
    **options: Any,
) -> ExportedGraphs:
    """Trace, lower and write the graphs of a task's model, with one shared weights file.

    `options` are the task's own: `fused` writes one graph of the whole model as well, `image_size` is for learned positions.
    `progress` is told what is being done. Raises `OverflowingWeights`.
    """
    lowering = lowering or Lowering()
    specs = GRAPHS[task](model, **options)
    graphs: dict[str, ir.Model] = {}
    islands: dict[str, Any] = {}
    plans: dict[str, Any] = {}
    applied: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    unknown: dict[str, UnknownCost] = {}
    for spec in specs:
        progress(f"tracing {spec.name}")
        graph = graphs[spec.name] = trace(spec)
        fold_transposes(graph)
        unchanged = graph.clone()
        applied[spec.name] = {name: PASSES[name](graph) for name in PASSES if name in lowering.passes}
        if lowering.target == "tensorrt":
            plans[spec.name] = lower_attention_tensorrt(
                graph, attention_shapes(spec, lowering.sizes), lowering.precision, budget=lowering.memory_budget
            )
        else:
            lower_attention_ort(graph, attention_shapes(spec, {**lowering.sizes, "B": 1}), budget=lowering.memory_budget)
            if lowering.precision == "int8":
                applied[spec.name]["quantize"] = quantize(graph)
        applied[spec.name] |= {name: FOLDS[name](graph) for name in FOLDS if name in lowering.passes}
        if lowering.target == "ort" and lowering.precision in ("fp32", "int8"):
            applied[spec.name] |= {name: FUSIONS[name](graph) for name in FUSIONS if name in lowering.passes}
        share_initializers(graph)
        name_by_module(graph)
        if lowering.precision in LOWER:
            islands[spec.name] = lower_precision(graph, lowering.precision)
        lower_attention_ort(unchanged)
        try:
            costs[spec.name] = _saved(unchanged, graph, lowering.sizes)
        except UnknownCost as error:  # it is for people and for limits on memory; a bundle works without
            unknown[spec.name] = error
    if unknown and lowering.sizes:
        name, reason = next(iter(unknown.items()))
        message = f"the cost of {name} is unknown ({reason}): the bundle has no memory plan for --max-memory"
        warnings.warn(message, MissingPlanWarning, stacklevel=2)
    progress("writing graphs and weights")
    save_graphs(graphs, folder)
    choices: dict[str, Any] = {"passes": applied, "cost": {"sizes": dict(lowering.sizes), "graphs": costs}}
    if lowering.target == "ort" and len(costs) == len(graphs):
        choices["memory"] = memory_plan(graphs, lowering.sizes)
    if islands:
        choices["islands"] = islands
    if plans:
        choices |= {"attention": plans, "memory_budget": lowering.memory_budget}
    return ExportedGraphs(specs, choices)
