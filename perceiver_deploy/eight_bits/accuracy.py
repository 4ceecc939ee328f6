"""How much of what verification allows graphs use up, on the cases that they will be verified on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from perceiver_deploy.eight_bits.calibration import UNCHECKED
from perceiver_deploy.tasks.recipe import Answer, Case, Recipe, together
from perceiver_deploy.verification import figures
from perceiver_deploy.verification.comparison import TOLERANCES, Comparison
from perceiver_export.shared_weights import save_graphs
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.reader import own_graph
from perceiver_runtime.common.errors import BackendError
from perceiver_runtime.tasks.pipeline import FUSED


@dataclass(frozen=True)
class Accuracy:
    """`share` of what is allowed that the worst figure or output uses; `figures` in the task's own terms, at their worst."""

    share: float
    figures: Mapping[str, float]


class Accuracies:
    """Measures graphs against torch, which answers each case once."""

    def __init__(self, recipe: Recipe, model: Any) -> None:
        self._recipe, self._tolerance = recipe, TOLERANCES[recipe.options.precision]
        self._cases: list[tuple[Case, Answer]] = []
        for case in recipe.all_cases():
            self._cases.append((case, together([recipe.reference(model, inputs) for inputs in case.runs])))
        names = self._cases[0][1]
        self._spreads = {name: float(together_of(self._cases, name).std(axis=0).mean()) for name in names}

    def of(self, graphs: Mapping[str, ir.Model], folder: Path) -> Accuracy:
        """That of graphs, which are written into `folder`."""
        save_graphs(graphs, folder)
        opened = {name: OnnxGraph(*own_graph(folder / f"{name}.onnx"), UNCHECKED, device="cpu") for name in graphs}
        opened.pop(FUSED, None)
        try:
            found = [together([self._recipe.answer(opened, inputs) for inputs in case.runs]) for case, _ in self._cases]
        except BackendError:  # NaN or infinity
            return Accuracy(float("inf"), {})
        finally:
            for graph in opened.values():
                graph.close()
        if any(not np.isfinite(answer).all() for answers in found for answer in answers.values()):
            return Accuracy(float("inf"), {})
        shares = [self._share(reference, answer) for (_, reference), answer in zip(self._cases, found)]
        by_case = [(case, self._recipe.metrics(reference, answer)) for (case, reference), answer in zip(self._cases, found)]
        worst = figures.worst(by_case)
        return Accuracy(max(*shares, *figures.used(self._recipe, worst).values()), worst)

    def _share(self, reference: Answer, found: Answer) -> float:
        """Of the error allowed of the outputs; by the spread over all cases where one case varies less than rounding."""
        shares = []
        for name, expected in reference.items():
            comparison = Comparison.of(expected, found[name], self._tolerance)
            varies = float(np.abs(expected - expected[::-1]).max()) > comparison.allowed
            if not varies:
                comparison = Comparison.of(expected, found[name], self._tolerance, spread=self._spreads[name])
            shares.append(comparison.max_error / comparison.allowed if comparison.allowed else 0.0)
        return max(shares)


def together_of(cases: list[tuple[Case, Answer]], name: str) -> np.ndarray[Any, Any]:
    """An output of all cases, one below the other."""
    return np.concatenate([answer[name] for _, answer in cases])
