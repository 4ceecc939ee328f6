"""A model to its graphs in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perceiver_export.flow import flow_graphs
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.name_by_module import name_by_module
from perceiver_export.shared_weights import save_graphs
from perceiver_export.trace import trace
from perceiver_io import OpticalFlow

GRAPHS: dict[str, Callable[[OpticalFlow], list[GraphSpec]]] = {"flow": flow_graphs}


def export_graphs(task: str, model: OpticalFlow, folder: Path, *, progress: Callable[[str], None]) -> list[GraphSpec]:
    """Trace, lower for ONNX Runtime and write the graphs of a task's model, with one shared weights file.

    Returns what was traced, for the manifest. `progress` is told what is being done.
    """
    specs = GRAPHS[task](model)
    graphs = {}
    for spec in specs:
        progress(f"tracing {spec.name}")
        graphs[spec.name] = trace(spec)
        lower_attention_ort(graphs[spec.name])
        name_by_module(graphs[spec.name])
    progress("writing graphs and weights")
    save_graphs(graphs, folder)
    return specs
