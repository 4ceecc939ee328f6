"""A model to its graphs in a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnx_ir as ir
from torch import nn

from perceiver_export.analysis.cost import UnknownCost, graph_cost
from perceiver_export.analysis.memory_plan import memory_plan
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.attention.recognise_attention import recognise_attention
from perceiver_export.passes.exact.fold_transposes import fold_transposes
from perceiver_export.passes.exact.name_by_module import name_by_module
from perceiver_export.passes.exact.share_initializers import share_initializers
from perceiver_export.passes.precision.lower_precision import LOWER, lower_precision
from perceiver_export.passes.precision.quantize import quantize
from perceiver_export.passes.table import AFTER_LOWERING, BEFORE_LOWERING, CONDITIONS, FUSIONS, Pass
from perceiver_export.shared_weights import save_graphs
from perceiver_export.targets import TARGETS, Lowering
from perceiver_export.tasks.registry import GRAPHS
from perceiver_export.trace import trace


class MissingPlanWarning(UserWarning):
    """A bundle can have no memory plan."""


class ExportedGraphs(NamedTuple):
    """What was traced, and what was decided for the manifest: see `perceiver_runtime.bundle.manifest.Manifest.choices`."""

    specs: list[GraphSpec]
    choices: dict[str, Any]


def _apply(passes: Mapping[str, Pass], graph: ir.Model, lowering: Lowering) -> dict[str, int]:
    """Those asked for, in order; how often each applied."""
    return {name: rewrite(graph) for name, rewrite in passes.items() if name in lowering.passes}


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
    return export_specs(GRAPHS[task](model, **options), folder, progress=progress, lowering=lowering)


def export_specs(
    specs: list[GraphSpec], folder: Path, *, progress: Callable[[str], None], lowering: Lowering | None = None
) -> ExportedGraphs:
    """Trace, lower and write graphs: see `export_graphs`."""
    lowering = lowering or Lowering()
    target = TARGETS[lowering.target]
    graphs: dict[str, ir.Model] = {}
    islands: dict[str, Any] = {}
    plans: dict[str, Any] = {}
    applied: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    unknown: dict[str, UnknownCost] = {}
    left: dict[str, dict[str, str]] = {}
    for spec in specs:
        progress(f"tracing {spec.name}")
        graph = graphs[spec.name] = trace(spec)
        found: dict[str, int] = {}
        if spec.foreign:
            found["recognise_attention"], reasons = recognise_attention(graph)
            if reasons:
                left[spec.name] = reasons
        fold_transposes(graph)
        unchanged = graph.clone()
        applied[spec.name] = found | _apply(BEFORE_LOWERING, graph, lowering)
        plan = target.lower(graph, spec, lowering.sizes, lowering.precision, lowering.memory_budget)
        if plan is not None:
            plans[spec.name] = plan
        if lowering.precision == "int8":
            applied[spec.name]["quantize"] = quantize(graph)
        applied[spec.name] |= _apply(AFTER_LOWERING, graph, lowering)
        if lowering.precision in target.fusions:
            applied[spec.name] |= _apply(FUSIONS, graph, lowering)
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
    conditions = {name: CONDITIONS[name] for counts in applied.values() for name in counts if name in CONDITIONS}
    choices: dict[str, Any] = {
        "passes": applied,
        "conditions": conditions,
        "cost": {"sizes": dict(lowering.sizes), "graphs": costs},
    }
    if not target.profiles and len(costs) == len(graphs):
        choices["memory"] = memory_plan(graphs, lowering.sizes)
    if left:
        choices["unrecognised"] = left
    if islands:
        choices["islands"] = islands
    if plans:
        choices |= {"attention": plans, "memory_budget": lowering.memory_budget}
    return ExportedGraphs(specs, choices)
