"""Which linear layers are in 8 bits: all that the accuracy allows, in the task's own terms.

Start from all. Where that takes more than is allowed, parts of the network are measured one by one, and those that cost most
accuracy for their operations are given back to the precision around, as few as it takes. A part is an attention layer with its
MLP, or some of them in a row. What takes more than is allowed alone goes first. Two ranges of activations are tried, and the
better one is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from perceiver_deploy.eight_bits.accuracy import Accuracies, Accuracy
from perceiver_deploy.eight_bits.calibration import PERCENTILE, Seen, calibrate
from perceiver_deploy.tasks.recipe import Recipe
from perceiver_export.export import Finish, Layers
from perceiver_runtime import VerificationError
from perceiver_runtime.tasks.pipeline import FUSED

MOST_PARTS = 16
MARGIN = 0.9  # of what is allowed: verification runs once more, perhaps with other threads
LARGEST, CLIPPED = "largest magnitude", f"{PERCENTILE} % of magnitudes"


class Choice:
    """Chooses for one export; `report` says for the parity report what was chosen and why."""

    def __init__(self, recipe: Recipe, model: Any, progress: Callable[[str], None]) -> None:
        self._recipe, self._model, self._progress = recipe, model, progress
        self.report: dict[str, Any] = {}

    @property
    def summary(self) -> dict[str, str]:
        """How many layers are in 8 bits, for people."""
        taken, left = (sum(map(len, self.report[which].values())) for which in ("layers", "given_back"))
        return {f"layers in {self.report['precision']}": f"{taken} of {taken + left}"}

    def __call__(self, graphs: Mapping[str, ir.Model], finish: Finish) -> Layers:
        """The layers, and what they are applied to at most. Raises `VerificationError` where none can be in 8 bits."""
        with tempfile.TemporaryDirectory(prefix="perceiver-") as folder:
            self._progress("calibrating: what layers are applied to")
            seen = calibrate(self._recipe, graphs, Path(folder))
            accuracies = Accuracies(self._recipe, self._model)

            def measured(layers: Layers, what: str) -> Accuracy:
                accuracy = accuracies.of(finish(layers), Path(folder))
                self._progress(f"{what}: {accuracy.share:.0%} of what is allowed")
                return accuracy

            return self.choose(seen, measured)

    def choose(self, seen: Mapping[str, Mapping[str, Seen]], measured: Callable[[Layers, str], Accuracy]) -> Layers:
        """The same by what was seen of each layer; `measured` says what some of them in 8 bits cost."""
        precision = self._recipe.options.precision
        ranges = {LARGEST: _magnitudes(seen, lambda each: each.values.largest)}
        if self._recipe.target.clips:
            ranges[CLIPPED] = _magnitudes(seen, lambda each: each.values.percentile(PERCENTILE))
        whole = {name: measured(layers, f"all layers in {precision}, {name}") for name, layers in ranges.items()}
        best = min(whole, key=lambda name: whole[name].share)
        layers, accuracy = ranges[best], whole[best]
        parts = _parts(seen)
        given_back: list[str] = []
        alone: dict[str, Accuracy] = {}
        if accuracy.share > MARGIN:
            for part in parts:
                alone[part] = measured(_only(layers, parts, [part]), f"only {part}")
            work = {part: sum(seen[graph][name].operations for graph, name in members) for part, members in parts.items()}
            possible = {part: each.share <= MARGIN for part, each in alone.items()}  # the others cannot stay whatever else goes
            order = sorted(parts, key=lambda part: (possible[part], -alone[part].share / max(1, work[part])))
            given_back, accuracy = self._fewest(order, layers, parts, measured)
            layers = _only(layers, parts, [part for part in parts if part not in given_back])
        self.report = {
            "precision": precision,
            "limits": dict(self._recipe.limits_in_force),
            "calibration": {
                "inputs": {kind: len(inputs) for kind, inputs in self._recipe.calibration_inputs.items()},
                "range": best,
                "share_of_allowed": {name: each.share for name, each in whole.items()},
            },
            "layers": layers,
            "given_back": {graph: [name for name in seen[graph] if name not in layers.get(graph, {})] for graph in seen},
            "parts_alone": {part: {"share_of_allowed": each.share, **each.figures} for part, each in alone.items()},
            "share_of_allowed": accuracy.share,
            "figures": dict(accuracy.figures),
        }
        return layers

    def _fewest(
        self,
        order: list[str],
        layers: Layers,
        parts: Mapping[str, list[tuple[str, str]]],
        measured: Callable[[Layers, str], Accuracy],
    ) -> tuple[list[str], Accuracy]:
        """The least number of parts to give back, found by halving, and the accuracy that leaves."""
        least, most = 1, len(order)
        found: dict[int, Accuracy] = {}

        def accuracy(count: int) -> Accuracy:
            if count not in found:
                kept = [part for part in parts if part not in order[:count]]
                found[count] = measured(_only(layers, parts, kept), f"{count} of {len(order)} parts given back")
            return found[count]

        while least < most:
            middle = (least + most) // 2
            if accuracy(middle).share <= MARGIN:
                most = middle
            else:
                least = middle + 1
        if least == len(order):
            precision, around = self._recipe.options.precision, self._recipe.lowering().arithmetic
            raise VerificationError(
                f"no part of this checkpoint can be in {precision} within what is allowed: export it in {around}, or allow "
                "more with --int8-limit"
            )
        return order[:least], accuracy(least)


def _magnitudes(seen: Mapping[str, Mapping[str, Seen]], of: Callable[[Seen], float]) -> Layers:
    return {graph: {name: of(each) for name, each in layers.items()} for graph, layers in seen.items()}


def _parts(seen: Mapping[str, Mapping[str, Seen]]) -> dict[str, list[tuple[str, str]]]:
    """Layers (graph, name) by part of the network, at most `MOST_PARTS`; those in a row are put together."""
    modules = {(graph, name): _module(name) for graph, layers in seen.items() for name in layers}
    graphs: dict[str, set[str]] = {}  # beside that of the whole model, whose layers go with those of the others
    for (graph, _), module in modules.items():
        if graph != FUSED:
            graphs.setdefault(module, set()).add(graph)
    parts: dict[str, list[tuple[str, str]]] = {}
    for member, module in modules.items():
        several = len(graphs.get(module, ())) > 1 and member[0] != FUSED
        parts.setdefault(f"{module} in {member[0]}" if several else module, []).append(member)
    size = -(-len(parts) // MOST_PARTS)
    names = list(parts)
    rows = [names[start : start + size] for start in range(0, len(names), size)]
    return {
        row[0] if len(row) == 1 else f"{row[0]} to {row[-1]}": [each for name in row for each in parts[name]] for row in rows
    }


def _module(layer: str) -> str:
    """The attention layer, with its MLP, that a layer is in."""
    module = layer.removeprefix("encode.")  # of the graph of the whole model
    for end in (".attention.", ".mlp."):
        module = module.partition(end)[0]
    return module


def _only(layers: Layers, parts: Mapping[str, list[tuple[str, str]]], kept: Iterable[str]) -> Layers:
    """The layers of some parts."""
    chosen = {member for part in kept for member in parts[part]}
    return {graph: {name: each for name, each in own.items() if (graph, name) in chosen} for graph, own in layers.items()}
