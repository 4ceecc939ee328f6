"""Verifying a model of one's own: cases by its kinds, its own answers, and both in a file for the child process.

The child rebuilds the model where it has a saved configuration. Where it has none, the reference is what the module itself
answered in the process that exports, before anything was traced: the answers are in a `.npz` file with the inputs. No code
and no pickle is written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perceiver_deploy.tasks.recipe import Answer, Array, Case, ExportOptions, Graphs, Inputs, Recipe, together
from perceiver_export.protocol import Structure, TensorInput, named_outputs
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.tasks.known_answer import Sample


@dataclass(frozen=True)
class Names:
    """Tensors of the graphs: what `encode` and `decode` take, latents, and outputs by the model's name and the graph's."""

    inputs: tuple[TensorInput, ...]
    queries: tuple[TensorInput, ...]
    latents: tuple[str, ...]
    outputs: Mapping[str, str]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Names:
        """What `dataclasses.asdict` and JSON made of it."""
        tensors = [
            tuple(TensorInput(**{**each, "shape": tuple(each["shape"])}) for each in data[key]) for key in ("inputs", "queries")
        ]
        return cls(tensors[0], tensors[1], tuple(data["latents"]), data["outputs"])


class ProtocolRecipe(Recipe):
    """What any module that follows the protocol is verified with, by the names of its tensors."""

    def __init__(self, names: Names, options: ExportOptions) -> None:
        super().__init__(None, options, Path())
        self.names = names

    @torch.no_grad()
    def whole(self, model: Any, inputs: Inputs) -> dict[str, Array]:
        """Latents and outputs as the model gives them."""
        tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        latents = model.encode(**{each.argument: tensors[each.name] for each in self.names.inputs})
        queries = {each.argument: tensors[each.name] for each in self.names.queries}
        found = named_outputs(model.decode(latents, **queries), list(self.names.outputs))
        return {name: tensor.numpy() for name, tensor in zip(self.names.outputs.values(), found)}

    @torch.no_grad()
    def encoded(self, model: Any, inputs: Inputs) -> dict[str, Array]:
        """Latents as the model gives them."""
        tensors = {each.argument: torch.from_numpy(inputs[each.name].copy()) for each in self.names.inputs}
        found = Structure.of(model.encode(**tensors), "encode")[1]
        return {name: tensor.numpy() for name, tensor in zip(self.names.latents, found)}

    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """Latents and outputs, all axes but the last together."""
        both = {**self.encoded(model, inputs), **self.whole(model, inputs)}
        return {name: _rows(array) for name, array in both.items()}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs."""
        latents = dict(
            zip(self.names.latents, graphs["encode"].run({each.name: inputs[each.name] for each in self.names.inputs}))
        )
        queries = {each.name: inputs[each.name] for each in self.names.queries}
        outputs = dict(zip(self.names.outputs.values(), graphs["decode"].run({**latents, **queries})))
        return {name: _rows(array) for name, array in {**latents, **outputs}.items()}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The outputs of the one graph."""
        return {name: _rows(array) for name, array in zip(self.names.outputs.values(), graph.run(inputs))}

    @property
    def checkpoint_inputs(self) -> list[Inputs]:
        """A module comes without."""
        return []

    def processor(self) -> dict[str, Any]:
        """The exporting process has it."""
        return {}

    def ranges(self) -> dict[str, Range]:
        """The exporting process has them."""
        return {}

    def read_samples(self, folder: Path) -> list[Inputs]:
        """The exporting process has read them."""
        return []


class SavedCases(ProtocolRecipe):
    """Cases that the exporting process wrote, with the module's answers where it cannot be rebuilt."""

    def __init__(self, file: Path, options: ExportOptions) -> None:
        with np.load(file, allow_pickle=False) as archive:
            self._arrays = {name: archive[name] for name in archive.files}
        described = json.loads(self._arrays["described"].tobytes())
        super().__init__(Names.from_json(described["names"]), options)
        self._cases, self._own = described["cases"], described["own_inputs"]

    @property
    def own_inputs(self) -> tuple[Inputs, ...]:
        """As many as the user gave."""
        return ({},) * int(self._own)

    def cases(self) -> Iterator[Case]:
        """As they were written."""
        for number, case in enumerate(self._cases):
            runs = tuple(self._part(f"{number}.{run}.input.") for run in range(case["runs"]))
            yield Case(case["name"], runs, case["own"])

    def all_cases(self) -> Iterator[Case]:
        """The user's own inputs are among them."""
        return self.cases()

    def case_reference(self, model: Any, case: Case) -> Answer:
        """The rebuilt model's answer, else the one that was written."""
        return super().case_reference(model, case) if model is not None else together(self._saved(case, "answer"))

    def case_noise(self, model: Any, case: Case) -> dict[str, float]:
        """What rounding moves that by."""
        if model is not None:
            return super().case_noise(model, case)
        parts = self._saved(case, "noise")
        return {name: max(float(part[name]) for part in parts) for name in parts[0]}

    def _saved(self, case: Case, what: str) -> list[dict[str, Array]]:
        """`answer` or `noise` of each of its runs."""
        number = [each["name"] for each in self._cases].index(case.name)
        return [self._part(f"{number}.{run}.{what}.") for run in range(len(case.runs))]

    def sample(self, model: Any) -> Sample:
        """As it was written, or the rebuilt model's answer to what was."""
        inputs, outputs = self._part("sample.input."), self._part("sample.answer.")
        if model is not None:
            outputs = known_outputs(self.whole(model, self._part("sample.run.")))
        return Sample(inputs, outputs)

    def _part(self, prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): array for name, array in self._arrays.items() if name.startswith(prefix)}


def write_cases(
    file: Path,
    recipe: ProtocolRecipe,
    cases: Sequence[Case],
    sample: Sample,
    sample_run: Inputs,
    answers: Mapping[str, Sequence[Mapping[str, Array]]] | None,
    own_inputs: int,
) -> None:
    """Write what `SavedCases` reads. `answers` are `answer` and `noise` of each case's runs, one after the other."""
    arrays: dict[str, Array] = {}
    place = 0
    for number, case in enumerate(cases):
        for run, inputs in enumerate(case.runs):
            arrays |= {f"{number}.{run}.input.{name}": array for name, array in inputs.items()}
            for what, each in (answers or {}).items():
                arrays |= {f"{number}.{run}.{what}.{name}": array for name, array in each[place].items()}
            place += 1
    arrays |= {f"sample.input.{name}": array for name, array in sample.inputs.items()}
    arrays |= {f"sample.answer.{name}": array for name, array in sample.outputs.items()}
    arrays |= {f"sample.run.{name}": array for name, array in sample_run.items()}
    described = {
        "names": dataclasses.asdict(recipe.names),
        "cases": [{"name": case.name, "runs": len(case.runs), "own": case.own} for case in cases],
        "own_inputs": own_inputs,
    }
    np.savez(file, described=np.frombuffer(json.dumps(described).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def known_outputs(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """A known answer's outputs: of one item, all axes but the last together."""
    return {name: array[0] if array.ndim == 2 else _rows(array[0]) for name, array in outputs.items()}


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
