"""What Triton's Python backend runs: one graph of a bundle, on ONNX Runtime or OpenVINO, verified before it is used.

For servers without Triton's own ONNX Runtime backend; or, as NAME_answer, a whole pipeline (answer_model.py). Requests of a
batch are answered one after the other, so an answer is the same, to the last bit, whoever else is asking. A version whose
bundle is not the one that the configuration names is not loaded.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perceiver_runtime.backends.selection import open_graphs
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import IntegrityError, PerceiverError
from perceiver_runtime.serving.answer_model import AnswerModel
from perceiver_runtime.serving.model_config import ANSWER_KEY, BUNDLE_KEY, DEVICE_KEY, GRAPH_KEY, THREADS_KEY
from perceiver_runtime.serving.raw_inputs import raw_check
from perceiver_runtime.tasks.pipeline import RuntimeOptions


class TritonPythonModel:
    """The name that Triton looks for. `initialize`, `execute` and `finalize` are called by it."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the graph that the model's configuration names, of the bundle beside model.py."""
        self._utils: Any = importlib.import_module("triton_python_backend_utils")
        parameters = json.loads(args["model_config"])["parameters"]
        values = {key: entry["string_value"] for key, entry in parameters.items()}
        bundle = open_bundle(Path(args["model_repository"]) / args["model_version"] / "bundle")
        named = values.get(f"{BUNDLE_KEY}{args['model_version']}")
        if named != bundle.manifest_sha256:
            raise IntegrityError(
                f"version {args['model_version']} has the bundle {bundle.manifest_sha256[:12]}…, and config.pbtxt names "
                f"{f'{named[:12]}…' if named else 'none'}: remove the version, and add the bundle with perceiver triton"
            )
        threads = values.get(THREADS_KEY)
        device, count = values.get(DEVICE_KEY, "cpu"), int(threads) if threads else None
        self._answers: AnswerModel | None = None
        if ANSWER_KEY in values:
            self._answers = AnswerModel(bundle, RuntimeOptions(device, count), self._utils)
            return
        name = values[GRAPH_KEY]
        self._check = raw_check(bundle.manifest, name)
        self._graph = open_graphs(bundle, [name], device=device, threads=count)[name]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One answer for each request, or an error."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        if self._answers is not None:
            return self._answers.respond(request)
        utils = self._utils
        entry = self._graph.entry
        try:
            given = {spec.name: utils.get_input_tensor_by_name(request, spec.name).as_numpy() for spec in entry.inputs}
            self._check(given)
            outputs = self._graph.run(given)
        except PerceiverError as error:
            return utils.InferenceResponse(error=utils.TritonError(str(error)))
        return utils.InferenceResponse([utils.Tensor(spec.name, array) for spec, array in zip(entry.outputs, outputs)])

    def finalize(self) -> None:
        """Release the graph, or the pipeline."""
        (self._answers or self._graph).close()
