"""A model to its graphs in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from perceiver_export.features import features_graphs
from perceiver_export.flow import flow_graphs
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.image import image_classification_graphs
from perceiver_export.multimodal import multimodal_graphs
from perceiver_export.passes.fold_transposes import fold_transposes
from perceiver_export.passes.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.name_by_module import name_by_module
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


def export_graphs(
    task: str, model: nn.Module, folder: Path, *, progress: Callable[[str], None], **options: Any
) -> list[GraphSpec]:
    """Trace, lower for ONNX Runtime and write the graphs of a task's model, with one shared weights file.

    `options` are the task's own: `fused` writes one graph of the whole model as well, `image_size` is for learned positions.
    Returns what was traced, for the manifest. `progress` is told what is being done.
    """
    specs = GRAPHS[task](model, **options)
    graphs = {}
    for spec in specs:
        progress(f"tracing {spec.name}")
        graphs[spec.name] = trace(spec)
        lower_attention_ort(graphs[spec.name])
        fold_transposes(graphs[spec.name])
        share_initializers(graphs[spec.name])
        name_by_module(graphs[spec.name])
    progress("writing graphs and weights")
    save_graphs(graphs, folder)
    return specs
