"""A bundle as models in a repository of Triton Inference Server: NAME_encode, NAME_decode…, and NAME where one call is enough.

Only a bundle that was verified is written. A version's folder holds the graph, as graph_check.py wrote it, and the weights:
another name for the bundle's own file (a hard link) where the file system allows it, else a copy. With the Python backend it
holds model.py and a link to the bundle, or a copy. Another version of the same models is added beside the first: nothing that
is there is changed until the new version is complete, and the config that names it comes last.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array, Tensor, on_host
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.serving.answer_model import answer_config
from perceiver_runtime.serving.model_config import (
    BUNDLE_KEY,
    DEVICE_KEY,
    GRAPH_KEY,
    THREADS_KEY,
    ModelConfig,
    Step,
)
from perceiver_runtime.serving.wire import WireSpec
from perceiver_runtime.tasks.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.tasks.known_answer import Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.labels import FILE as LABELS_FILE
from perceiver_runtime.tasks.labels import MAX_BYTES as MAX_LABELS_BYTES
from perceiver_runtime.tasks.labels import read_labels
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.pipeline import Pipeline, RuntimeOptions

Backend = Literal["onnxruntime", "python"]
DEVICES = ("cpu", "cuda", "tensorrt")  # cuda:1 and tensorrt:1 are the GPU of that number
MODEL_FILE = "model.py"
BUNDLE_FOLDER = "bundle"
_MODEL = '''"""Runs a graph of the bundle beside this file; written by `perceiver triton`."""

import os
import sys

# Triton's worker has the folder that the server was started in on its module path: what lies there is not to be run
sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]

from perceiver_runtime.serving.python_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class RepositoryOptions:
    """How models are served. `threads` are of an instance; None: all cores of the server for each."""

    backend: Backend = "onnxruntime"
    device: str = "cpu"
    gpu: int | None = None  # its number on the server; None: instances on each of its GPUs
    copy: bool = False
    instances: int = 1
    max_batch: int = 8
    threads: int | None = None
    processing: bool = False  # NAME_answer too, which takes texts and files
    version: int | None = None  # None: the first, or the one after the last that is there


def write_repository(bundle: Bundle, repository: Path, name: str, options: RepositoryOptions) -> dict[str, Any]:
    """Write a bundle's models; what was written.

    The known answer is run first, on this machine's CPU; in bfloat16, which no CPU runs, what else a pipeline checks is. Raises
    `InputError`, `UsageError`, `IntegrityError`, `VerificationError`, `BackendError`.
    """
    check_task(bundle, None)
    _check(bundle, name, options)
    samples = _sample_inputs(bundle)
    models = _models(bundle, name, options, samples)
    version = options.version or 1 + max([0, *(last for model in models for last in _versions(repository / model))])
    for model in models:
        if (repository / model / str(version)).exists():
            raise InputError(f"{repository / model} has a version {version}: give another --version, or remove it")
    models = _models(bundle, name, options, samples, version=version)
    repository.mkdir(parents=True, exist_ok=True)
    for model, config in models.items():
        known = _known_bundles(repository / model / "config.pbtxt")
        complete = ModelConfig(**{**vars(config), "parameters": {**config.parameters, **known, **_known(bundle, version)}})
        _write_model(bundle, repository / model, complete, version, options)
    return {"repository": str(repository), "models": list(models), "version": version, "bundle": bundle.manifest_sha256}


def _check(bundle: Bundle, name: str, options: RepositoryOptions) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise UsageError(f"{name!r} is no name for a model: use letters, digits, _ and - (--name)")
    manifest = bundle.manifest
    if options.device == "cpu" and (manifest.precision == "bf16" or manifest.target == "tensorrt"):
        raise UsageError(f"{bundle.folder} is for a GPU: add --device cuda or tensorrt, or export it for ONNX Runtime")
    if options.device == "tensorrt" and options.backend == "python":
        raise UsageError("the Python backend runs bundles with ONNX Runtime: leave out --backend, or --device tensorrt")


def _sample_inputs(bundle: Bundle) -> dict[str, dict[str, Array]]:
    """What each graph is given for the known answer, which is checked."""
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


def _models(
    bundle: Bundle, name: str, options: RepositoryOptions, samples: Mapping[str, Mapping[str, Array]], version: int = 0
) -> dict[str, ModelConfig]:
    """Every model by its name."""
    manifest = bundle.manifest
    largest = min(manifest.ranges["B"].max if "B" in manifest.ranges else 1, options.max_batch)
    labels = {"logits": "labels.txt"} if LABELS_FILE in bundle.present else {}
    models = {}
    for graph, entry in manifest.graphs.items():
        if graph == "model":
            continue
        own_labels = {spec.name: labels[spec.name] for spec in entry.outputs if spec.name in labels}
        models[f"{name}_{graph}"] = ModelConfig(
            f"{name}_{graph}",
            entry.inputs,
            entry.outputs,
            largest,
            _parameters(graph, options),
            backend=options.backend,
            file=MODEL_FILE if options.backend == "python" else entry.file,
            instances=options.instances,
            gpu=options.device != "cpu",
            gpus=() if options.gpu is None else (options.gpu,),
            tensorrt=options.device == "tensorrt",
            labels=own_labels,
            warm_up=samples.get(graph, {}),
        )
    if check_task(bundle, None).single_call:
        models[name] = _ensemble(name, models[f"{name}_encode"], models[f"{name}_decode"], version)
    if options.processing:
        parameters = _parameters("", replace(options, backend="python"))
        del parameters[GRAPH_KEY]
        answers = answer_config(bundle, name, models[f"{name}_encode"], MODEL_FILE, parameters)
        models[answers.name] = answers
    return models


def _parameters(graph: str, options: RepositoryOptions) -> dict[str, str]:
    if options.backend == "python":
        device = options.device if options.gpu is None else f"{options.device}:{options.gpu}"
        own = {GRAPH_KEY: graph, DEVICE_KEY: device}
        return own if options.threads is None else {**own, THREADS_KEY: str(options.threads)}
    return {} if options.threads is None else {"intra_op_thread_count": str(options.threads)}


def _ensemble(name: str, encode: ModelConfig, decode: ModelConfig, version: int) -> ModelConfig:
    """Encode, then decode: only what neither makes is asked of the client, and only the answer goes back."""
    made = {spec.name for spec in encode.outputs}
    inputs: list[TensorSpec | WireSpec] = [*encode.inputs, *(spec for spec in decode.inputs if spec.name not in made)]
    steps = [
        Step(model.name, version, [spec.name for spec in model.inputs], [spec.name for spec in model.outputs])
        for model in (encode, decode)
    ]
    return ModelConfig(name, inputs, decode.outputs, encode.max_batch, {}, labels=decode.labels, steps=steps)


def _versions(model: Path) -> list[int]:
    return [int(path.name) for path in model.iterdir() if path.name.isdigit()] if model.is_dir() else []


def _known(bundle: Bundle, version: int) -> dict[str, str]:
    return {f"{BUNDLE_KEY}{version}": bundle.manifest_sha256}


def _known_bundles(config: Path) -> dict[str, str]:
    """The bundles of versions that are there."""
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    pattern = rf'key: "({BUNDLE_KEY}\d+)" value {{ string_value: "([0-9a-f]{{64}})" }}'
    return {key: value for key, value in re.findall(pattern, text) if (config.parent / key[len(BUNDLE_KEY) :]).exists()}


def _write_model(bundle: Bundle, folder: Path, config: ModelConfig, version: int, options: RepositoryOptions) -> None:
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=folder) as staging:
        new = Path(staging) / "version"
        _write_version(bundle, new, config, options)
        if config.labels:
            lines = [name.replace("\n", " ") for name in read_labels(bundle.read(LABELS_FILE, limit=MAX_LABELS_BYTES))]
            _put(folder / "labels.txt", "\n".join(lines).encode() + b"\n", Path(staging))
        if config.warm_up:
            (folder / "warmup").mkdir(exist_ok=True)
            for name, array in config.warm_up.items():
                _put(folder / "warmup" / name, array.tobytes(), Path(staging))
        os.rename(new, folder / str(version))
        _put(folder / "config.pbtxt", config.text().encode(), Path(staging))


def _write_version(bundle: Bundle, folder: Path, config: ModelConfig, options: RepositoryOptions) -> None:
    source = bundle.folder.absolute()
    if not config.backend:
        folder.mkdir()
    elif config.backend == "python":
        folder.mkdir()
        (folder / MODEL_FILE).write_text(_MODEL, encoding="utf-8")
        if options.copy:
            _copy(bundle, folder / BUNDLE_FOLDER)
        else:
            (folder / BUNDLE_FOLDER).symlink_to(source)
    else:
        folder.mkdir()
        graph = next(graph for graph in bundle.graphs.values() if graph.name == config.file)
        (folder / config.file).write_bytes(graph.content)
        if graph.weights is not None and bundle.weights is not None:
            bundle.weights.put(folder / graph.weights, link=not options.copy)


def _copy(bundle: Bundle, folder: Path) -> None:
    """What the manifest lists, and the manifest."""
    folder.mkdir()
    (folder / "manifest.json").write_text(bundle.manifest.to_json(), encoding="utf-8")
    for name in bundle.present:
        if bundle.weights is not None and name == bundle.weights.path.name:
            bundle.weights.put(folder / name, link=False)
        else:
            (folder / name).write_bytes(bundle.read(name))


def _put(path: Path, content: bytes, staging: Path) -> None:
    """Whole or not at all."""
    new = staging / path.name
    new.write_bytes(content)
    os.replace(new, path)
