"""What linear layers are applied to, seen by running the float32 graphs on the user's, the checkpoint's and general inputs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from perceiver_deploy.eight_bits.magnitudes import Magnitudes
from perceiver_deploy.tasks.recipe import Recipe
from perceiver_export.passes.precision.linear_layers import Layer
from perceiver_export.shared_weights import save_graphs
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.reader import own_graph
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.tasks.pipeline import FUSED

UNCHECKED = GraphEntry("", (), ())
PERCENTILE = 99.99  # the other range that is tried, beside the largest magnitude


@dataclass(frozen=True)
class Seen:
    """A layer, and the values that it was applied to."""

    layer: Layer
    values: Magnitudes

    @property
    def operations(self) -> int:
        """Of the largest input."""
        return self.layer.operations * self.values.rows


class _Watched(OnnxGraph):
    """A graph that adds up what its layers are applied to."""

    def __init__(self, path: Path, outputs: list[str], extra: int, seen: Mapping[str, Magnitudes]) -> None:
        super().__init__(*own_graph(path), UNCHECKED, device="cpu")
        self._outputs, self._extra, self._seen = outputs, extra, seen

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The graph's own outputs."""
        found = super().run(inputs)
        values: dict[str, Any] = {**inputs, **dict(zip(self._outputs, found))}
        for name, seen in self._seen.items():
            seen.add(values[name])
        return found[: len(found) - self._extra]


def calibrate(recipe: Recipe, graphs: Mapping[str, ir.Model], folder: Path) -> dict[str, dict[str, Seen]]:
    """By graph and layer, what was seen on the calibration inputs. Writes into `folder`."""
    find = recipe.target.eight_bit_layers
    watched = {name: graph.clone() for name, graph in graphs.items()}
    values: dict[str, dict[str, Magnitudes]] = {}
    layers = {name: find(graph) for name, graph in watched.items()}
    extra = {}
    for name, graph in watched.items():
        values[name] = {layer.x.name or "": Magnitudes() for layer in layers[name]}
        extra[name] = _show(graph, [layer.x for layer in layers[name]])
    outputs = {name: [output.name or "" for output in graph.graph.outputs] for name, graph in watched.items()}
    save_graphs(watched, folder)
    opened = {name: _Watched(folder / f"{name}.onnx", outputs[name], extra[name], values[name]) for name in graphs}
    for inputs in itertools.chain.from_iterable(recipe.calibration_inputs.values()):
        recipe.answer(opened, inputs)
        if FUSED in opened:
            recipe.fused_answer(opened[FUSED], inputs)
    for session in opened.values():
        session.close()
    return {
        name: {layer.name: Seen(layer, values[name][layer.x.name or ""]) for layer in find(graphs[name])} for name in graphs
    }


def _show(model: ir.Model, wanted: list[ir.Value]) -> int:
    """Make these values outputs, where they are neither outputs nor inputs; how many."""
    graph, count = model.graph, 0
    for value in wanted:
        if not value.is_graph_output() and not value.is_graph_input():
            graph.outputs.append(value)
            count += 1
    return count
