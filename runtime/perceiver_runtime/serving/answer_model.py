"""NAME_answer in a Triton repository: texts and contents of files to answers, by a whole pipeline in Triton's Python backend.

The functions are those of `perceiver serve`. The limits are Triton's: how large a request is, how many wait and for how long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.errors import PerceiverError, UsageError
from perceiver_runtime.common.terminal import one_line, write_lines
from perceiver_runtime.serving.answering import ANSWER, Answering, answer_specs
from perceiver_runtime.serving.http.errors import told
from perceiver_runtime.serving.model_config import ANSWER_KEY, ModelConfig
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

_OWN = "triton_"  # begins parameters that Triton adds


def answer_config(bundle: Bundle, name: str, encode: ModelConfig, file: str, parameters: Mapping[str, str]) -> ModelConfig:
    """The model NAME_answer, placed as the graph `encode` is; `file` is its code. Raises `UsageError`.

    `parameters` are those of a model of the Python backend, without a graph.
    """
    if ANSWER in bundle.manifest.graphs:
        raise UsageError(f"this bundle has a graph named {ANSWER}: leave out --with-processing")
    if encode.tensorrt:
        raise UsageError("--with-processing runs pipelines with ONNX Runtime: use --device cuda")
    inputs, outputs = answer_specs(bundle.manifest)
    return ModelConfig(
        f"{name}_{ANSWER}",
        inputs,
        outputs,
        encode.max_batch,
        {ANSWER_KEY: bundle.manifest.task, **parameters},
        backend="python",
        file=file,
        instances=encode.instances,
        gpu=encode.gpu,
        gpus=encode.gpus,
        queue_size=encode.queue_size,
        queue_seconds=encode.queue_seconds,
    )


class AnswerModel:
    """A bundle's pipeline behind Triton's Python backend, whose module is `utils`."""

    def __init__(self, bundle: Bundle, options: RuntimeOptions, utils: Any) -> None:
        self._pipeline = open_pipeline(bundle, options)
        self._answering, self._utils = Answering(self._pipeline), utils

    def respond(self, request: Any) -> Any:
        """The response to a request, an error among them."""
        utils, own = self._utils, self._answering
        try:
            tensors = {spec.name: utils.get_input_tensor_by_name(request, spec.name) for spec in own.inputs}
            given = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
            asked = set(request.requested_output_names())
            wanted = [spec.name for spec in own.outputs if spec.name in asked]
            found = own.tensors(given, wanted, _parameters(request))
        except PerceiverError as error:
            client = told(error)
            if client.status >= 500:
                write_lines(one_line(f"perceiver: {error}"), sys.stderr)
            return utils.InferenceResponse(error=utils.TritonError(client.message))
        return utils.InferenceResponse([utils.Tensor(name, array) for name, array in found.items()])

    def close(self) -> None:
        """Release the pipeline."""
        self._pipeline.close()


def _parameters(request: Any) -> dict[str, Any]:
    found = json.loads(request.parameters() or "{}")
    return {name: value for name, value in found.items() if not name.startswith(_OWN)}
