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
from perceiver_export.passes.precision.linear_layers import Magnitudes
from perceiver_export.passes.precision.lower_precision import LOWER, lower_precision
from perceiver_export.passes.table import AFTER_LOWERING, BEFORE_LOWERING, CONDITIONS, FUSIONS, Pass
from perceiver_export.shared_weights import save_graphs
from perceiver_export.targets import EIGHT_BITS, TARGETS, Lowering
from perceiver_export.tasks.registry import GRAPHS
from perceiver_export.trace import trace

Layers = Mapping[str, Magnitudes]  # by graph: which are in 8 bits
Finish = Callable[[Layers], dict[str, ir.Model]]  # the graphs with these layers in 8 bits
ChooseLayers = Callable[[Mapping[str, ir.Model], Finish], Layers]  # of graphs in float32


class MissingPlanWarning(UserWarning):
    """A bundle can have no memory plan."""


class ExportedGraphs(NamedTuple):
    """What was traced, and what was decided for the manifest: see `perceiver_runtime.bundle.manifest.Manifest.choices`."""

    specs: list[GraphSpec]
    choices: dict[str, Any]


class _Lowered(NamedTuple):
    """A graph in float32 with its attentions lowered; what it was before; how often passes applied; what was planned.

    `unrecognised` are attentions, or what looks like some, that stay as they were written, and why.
    """

    graph: ir.Model
    unchanged: ir.Model
    applied: dict[str, int]
    plan: Any
    unrecognised: dict[str, str]


class _Finished(NamedTuple):
    """A graph in its precision; how often the last passes applied; which nodes stay float32."""

    graph: ir.Model
    applied: dict[str, int]
    islands: dict[str, list[str]] | None


def _apply(passes: Mapping[str, Pass], graph: ir.Model, lowering: Lowering) -> dict[str, int]:
    """Those asked for, in order; how often each applied."""
    return {name: rewrite(graph) for name, rewrite in passes.items() if name in lowering.passes}


def _lowered(spec: GraphSpec, lowering: Lowering) -> _Lowered:
    graph = trace(spec)
    applied: dict[str, int] = {}
    unrecognised: dict[str, str] = {}
    if spec.foreign:
        applied["recognise_attention"], unrecognised = recognise_attention(graph)
    fold_transposes(graph)
    unchanged = graph.clone()
    applied |= _apply(BEFORE_LOWERING, graph, lowering)
    target = TARGETS[lowering.target]
    plan = target.lower(graph, spec, lowering.sizes, lowering.precision, lowering.memory_budget)
    applied |= _apply(AFTER_LOWERING, graph, lowering)
    lower_attention_ort(unchanged)
    return _Lowered(graph, unchanged, applied, plan, unrecognised)


def _finished(graph: ir.Model, lowering: Lowering, layers: Magnitudes) -> _Finished:
    """`graph` is changed."""
    target, applied = TARGETS[lowering.target], {}
    if lowering.precision in EIGHT_BITS:
        applied["quantize"] = target.quantize(graph, layers, lowering.precision)
    if lowering.precision in target.fusions:
        applied |= _apply(FUSIONS, graph, lowering)
    share_initializers(graph)
    name_by_module(graph)
    islands = lower_precision(graph, lowering.arithmetic) if lowering.arithmetic in LOWER else None
    return _Finished(graph, applied, islands)


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
    choose_layers: ChooseLayers | None = None,
    **options: Any,
) -> ExportedGraphs:
    """Trace, lower and write the graphs of a task's model, with one shared weights file.

    `options` are the task's own: `fused` writes one graph of the whole model as well, `image_size` is for learned positions.
    `progress` is told what is being done. In 8 bits `choose_layers` says which layers of the float32 graphs. Raises
    `OverflowingWeights`.
    """
    specs = GRAPHS[task](model, **options)
    return export_specs(specs, folder, progress=progress, lowering=lowering, choose_layers=choose_layers)


def export_specs(
    specs: list[GraphSpec],
    folder: Path,
    *,
    progress: Callable[[str], None],
    lowering: Lowering | None = None,
    choose_layers: ChooseLayers | None = None,
) -> ExportedGraphs:
    """Trace, lower and write graphs: see `export_graphs`."""
    lowering = lowering or Lowering()
    target = TARGETS[lowering.target]
    lowered = {}
    for spec in specs:
        progress(f"tracing {spec.name}")
        lowered[spec.name] = _lowered(spec, lowering)
    layers: Layers = {}
    if lowering.precision in EIGHT_BITS:
        if choose_layers is None:
            raise ValueError(f"{lowering.precision} needs choose_layers")

        def finish(trial: Layers) -> dict[str, ir.Model]:
            copies = {name: each.graph.clone() for name, each in lowered.items()}
            return {name: _finished(copy, lowering, trial.get(name, {})).graph for name, copy in copies.items()}

        layers = choose_layers({name: each.graph for name, each in lowered.items()}, finish)
    finished = {name: _finished(each.graph, lowering, layers.get(name, {})) for name, each in lowered.items()}
    graphs = {name: each.graph for name, each in finished.items()}
    costs: dict[str, Any] = {}
    unknown: dict[str, UnknownCost] = {}
    for name, graph in graphs.items():
        try:
            costs[name] = _saved(lowered[name].unchanged, graph, lowering.sizes)
        except UnknownCost as error:  # it is for people and for limits on memory; a bundle works without
            unknown[name] = error
    if unknown and lowering.sizes:
        name, reason = next(iter(unknown.items()))
        message = f"the cost of {name} is unknown ({reason}): the bundle has no memory plan for --max-memory"
        warnings.warn(message, MissingPlanWarning, stacklevel=2)
    progress("writing graphs and weights")
    save_graphs(graphs, folder)
    applied = {name: lowered[name].applied | each.applied for name, each in finished.items()}
    conditions = {name: CONDITIONS[name] for counts in applied.values() for name in counts if name in CONDITIONS}
    choices: dict[str, Any] = {
        "passes": applied,
        "conditions": conditions,
        "cost": {"sizes": dict(lowering.sizes), "graphs": costs},
    }
    if not target.profiles and len(costs) == len(graphs):
        choices["memory"] = memory_plan(graphs, lowering.sizes)
    left = {name: each.unrecognised for name, each in lowered.items() if each.unrecognised}
    if left:
        choices["unrecognised"] = left
    islands = {name: each.islands for name, each in finished.items() if each.islands is not None}
    if islands:
        choices["islands"] = islands
    plans = {name: each.plan for name, each in lowered.items() if each.plan is not None}
    if plans:
        choices |= {"attention": plans, "memory_budget": lowering.memory_budget}
    return ExportedGraphs(specs, choices)
