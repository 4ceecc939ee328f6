"""Which models a bundle becomes: one for each graph, and an ensemble where one call gives the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.serving.answer_model import answer_config
from perceiver_runtime.serving.model_config import (
    BUNDLE_KEY,
    DEVICE_KEY,
    GRAPH_KEY,
    ONNX_THREADS_KEY,
    THREADS_KEY,
    ModelConfig,
    Step,
)
from perceiver_runtime.serving.wire import WireSpec
from perceiver_runtime.tasks.labels import FILE as LABELS_FILE
from perceiver_runtime.tasks.loading import check_task
from perceiver_runtime.tasks.pipeline import FUSED

Backend = Literal["onnxruntime", "python"]
DEVICES = ("cpu", "cuda", "tensorrt")  # cuda:1 and tensorrt:1 are the GPU of that number
MODEL_FILE = "model.py"
NAMES_FILE = "labels.txt"
USUAL_BATCH = 8


@dataclass(frozen=True)
class RepositoryOptions:
    """How models are served. None: as the versions that are there are served, else what is usual.

    `threads` are of an instance (usually all cores of the server for each). `queue_size` requests may wait for a model (usually
    256), for `queue_seconds` (60); 0 is no limit.
    """

    backend: Backend | None = None  # onnxruntime
    device: str | None = None  # cpu
    gpu: int | None = None  # its number on the server; None: instances on each of its GPUs
    copy: bool = False
    instances: int | None = None  # 1
    max_batch: int | None = None  # 8
    threads: int | None = None
    queue_size: int | None = None
    queue_seconds: float | None = None
    processing: bool = False  # NAME_answer too, which takes texts and files; kept where it is there
    version: int | None = None  # None: the first, or the one after the last that is there


def models_of(
    bundle: Bundle, name: str, options: RepositoryOptions, samples: Mapping[str, Mapping[str, Array]], version: int
) -> dict[str, ModelConfig]:
    """Every model by its name. Options are complete but for `threads` and `gpu`."""
    labels = {"logits": NAMES_FILE} if LABELS_FILE in bundle.present else {}
    largest = min(largest_batch(bundle), options.max_batch or USUAL_BATCH)
    own = {f"{BUNDLE_KEY}{version}": bundle.manifest_sha256}
    models = {}
    for graph, entry in bundle.manifest.graphs.items():
        if graph == FUSED:
            continue
        models[f"{name}_{graph}"] = ModelConfig(
            f"{name}_{graph}",
            entry.inputs,
            entry.outputs,
            largest,
            {**graph_parameters(graph, options), **own},
            backend=options.backend or "onnxruntime",
            file=MODEL_FILE if options.backend == "python" else entry.file,
            instances=options.instances or 1,
            gpu=(options.device or "cpu") != "cpu",
            gpus=() if options.gpu is None else (options.gpu,),
            tensorrt=options.device == "tensorrt",
            queue_size=options.queue_size,
            queue_seconds=options.queue_seconds,
            labels={spec.name: labels[spec.name] for spec in entry.outputs if spec.name in labels},
            warm_up=samples.get(graph, {}),
        )
    if check_task(bundle, None).single_call:
        for ensemble in (name, f"{name}_v{version}"):
            models[ensemble] = _ensemble(ensemble, models[f"{name}_encode"], models[f"{name}_decode"], version, own)
    if options.processing:
        parameters = graph_parameters("", replace(options, backend="python"))
        del parameters[GRAPH_KEY]
        answers = answer_config(bundle, name, models[f"{name}_encode"], MODEL_FILE, {**parameters, **own})
        models[answers.name] = answers
    return models


def graph_parameters(graph: str, options: RepositoryOptions) -> dict[str, str]:
    """What the backend is told."""
    if options.backend != "python":
        return {} if options.threads is None else {ONNX_THREADS_KEY: str(options.threads)}
    device = options.device or "cpu"
    own = {GRAPH_KEY: graph, DEVICE_KEY: device if options.gpu is None else f"{device}:{options.gpu}"}
    return own if options.threads is None else {**own, THREADS_KEY: str(options.threads)}


def largest_batch(bundle: Bundle) -> int:
    """Inputs at once, that the graphs take."""
    ranges = bundle.manifest.ranges
    return ranges["B"].max if "B" in ranges else 1


def check_options(bundle: Bundle, name: str, options: RepositoryOptions) -> None:
    """Raise `UsageError` for what cannot be served so."""
    check_name(name)
    manifest = bundle.manifest
    if (options.device or "cpu") == "cpu" and (manifest.precision == "bf16" or manifest.target == "tensorrt"):
        raise UsageError(f"{bundle.folder} is for a GPU: add --device cuda or tensorrt, or export it for ONNX Runtime")
    if options.device == "tensorrt" and options.backend == "python":
        raise UsageError("the Python backend runs bundles with ONNX Runtime: leave out --backend, or --device tensorrt")


def check_name(name: str) -> None:
    """Raise `UsageError` unless it can begin models' names."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UsageError(f"{name!r} is no name for a model: use letters, digits, _ and - (--name)")


def _ensemble(name: str, encode: ModelConfig, decode: ModelConfig, version: int, own: Mapping[str, str]) -> ModelConfig:
    """Encode, then decode: only what neither makes is asked of the client, and only the answer goes back."""
    made = {spec.name for spec in encode.outputs}
    inputs: list[TensorSpec | WireSpec] = [*encode.inputs, *(spec for spec in decode.inputs if spec.name not in made)]
    steps = [
        Step(model.name, version, [spec.name for spec in model.inputs], [spec.name for spec in model.outputs])
        for model in (encode, decode)
    ]
    return ModelConfig(
        name, inputs, decode.outputs, encode.max_batch, own, labels=decode.labels, steps=steps, only_version=version
    )
