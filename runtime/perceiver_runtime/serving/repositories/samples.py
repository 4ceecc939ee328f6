"""What each graph of a bundle is given for the known answer, which is checked on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array, Tensor, on_host
from perceiver_runtime.tasks.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.tasks.known_answer import Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import Pipeline, RuntimeOptions


def sample_inputs(bundle: Bundle) -> dict[str, dict[str, Array]]:
    """By graph, then by input; nothing in bfloat16, which no CPU runs. Raises `VerificationError`, `BackendError`."""
    if bundle.manifest.precision == "bf16":
        return {}
    seen: dict[str, dict[str, Array]] = {}
    with open_pipeline(bundle, RuntimeOptions("cpu")) as pipeline:
        for graph in pipeline.graphs:
            pipeline.graphs[graph] = _Recorder(pipeline, graph, seen)
        check_known_answer(pipeline, Sample.read(bundle.read(SAMPLE_FILE)), tolerances(bundle.manifest))
    return seen


class _Recorder:
    """A graph that remembers its first inputs."""

    def __init__(self, pipeline: Pipeline, name: str, seen: dict[str, dict[str, Array]]) -> None:
        self._graph, self._name, self._seen = pipeline.graphs[name], name, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)

    def _remember(self, inputs: Mapping[str, Tensor]) -> None:
        self._seen.setdefault(self._name, {key: on_host(value) for key, value in inputs.items()})

    def run(self, inputs: Mapping[str, Tensor]) -> Any:
        self._remember(inputs)
        return self._graph.run(inputs)

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> Any:
        self._remember(inputs)
        return self._graph.run_on_device(inputs)
