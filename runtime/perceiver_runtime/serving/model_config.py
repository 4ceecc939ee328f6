"""A model's config.pbtxt for Triton Inference Server, as text: Triton's protobuf text format, nothing else needed.

Sizes that the manifest leaves open are -1. Every graph has a batch axis, which Triton keeps apart as `max_batch_size`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perceiver_runtime.bundle.manifest import TensorSpec
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.serving.wire import WireSpec

BUNDLE_KEY = "perceiver_bundle_"  # begins a parameter's name, a version ends it: the sha256 of that version's manifest
GRAPH_KEY = "perceiver_graph"
DEVICE_KEY = "perceiver_device"
THREADS_KEY = "perceiver_threads"
ONNX_THREADS_KEY = "intra_op_thread_count"  # of Triton's own ONNX Runtime backend
ANSWER_KEY = "perceiver_answer"  # of models that answer texts and files, with a pipeline in place of a graph
KEPT_VERSIONS = 2  # while one is replaced, calls that began with it end with it
_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "bytes": "TYPE_STRING"}
_DELAY_MICROSECONDS = 500
QUEUE_SIZE = 256  # requests that wait for a model; more are refused, so that a client hears of it at once
QUEUE_SECONDS = 60.0  # that one waits at most; a client's own timeout makes it less, never more


@dataclass(frozen=True)
class Step:
    """A model of an ensemble, at one version, and the tensors it takes and gives."""

    model: str
    version: int
    inputs: Sequence[str]
    outputs: Sequence[str]


@dataclass(frozen=True)
class ModelConfig:
    """One model: what it takes and gives, where and how often it runs."""

    name: str
    inputs: Sequence[TensorSpec | WireSpec]
    outputs: Sequence[TensorSpec | WireSpec]
    max_batch: int
    parameters: Mapping[str, str]
    backend: str = ""  # onnxruntime or python; empty for an ensemble
    file: str = ""  # in a version's folder
    instances: int = 1
    gpu: bool = False
    gpus: Sequence[int] = ()  # their numbers; empty: all of the server's
    tensorrt: bool = False  # ONNX Runtime's provider of that name
    labels: Mapping[str, str] = field(default_factory=dict)  # by output: a file of names, one a line
    warm_up: Mapping[str, Array] = field(default_factory=dict)  # inputs, of which files are in the folder warmup
    steps: Sequence[Step] = ()
    only_version: int | None = None  # that is served: the steps of an ensemble are of one version, whatever version is asked
    queue_size: int | None = None
    queue_seconds: float | None = None

    def text(self) -> str:
        """The file's text."""
        lines = [f"name: {_quoted(self.name)}"]
        lines.append(f"backend: {_quoted(self.backend)}" if self.backend else 'platform: "ensemble"')
        if self.file:
            lines.append(f"default_model_filename: {_quoted(self.file)}")
        lines.append(f"max_batch_size: {self.max_batch}")
        lines += [f"input {_tensor(spec)}" for spec in self.inputs]
        lines += [f"output {_tensor(spec, self.labels.get(spec.name, ''))}" for spec in self.outputs]
        lines.append(self.version_policy())
        if self.steps:
            lines += ["ensemble_scheduling {", *(f"  step {_step(step)}" for step in self.steps), "}"]
        else:
            lines.append(self.instance_group())
            policy = " ".join(f"{key}: {value}" for key, value in self.queue_policy(complete=True).items())
            delay = f"max_queue_delay_microseconds: {_DELAY_MICROSECONDS}"
            lines.append(f"dynamic_batching {{ {delay} default_queue_policy {{ {policy} }} }}")
        if self.tensorrt:
            lines.append(ACCELERATOR)
        lines += [parameter(key, value) for key, value in self.parameters.items()]
        if self.warm_up:
            lines += ['model_warmup { name: "sample" batch_size: 1', *map(self._warm_up_input, self.warm_up), "}"]
        return "\n".join(lines) + "\n"

    def version_policy(self) -> str:
        """Which versions are loaded."""
        if self.only_version is not None:
            return only(self.only_version)
        return f"version_policy {{ latest {{ num_versions: {KEPT_VERSIONS} }} }}"

    def instance_group(self) -> str:
        """Where it runs."""
        kind = "KIND_GPU" if self.gpu else "KIND_CPU"
        gpus = f" gpus: {list(self.gpus)}" if self.gpus else ""
        return f"instance_group {{ kind: {kind} count: {self.instances}{gpus} }}"

    def queue_policy(self, *, complete: bool) -> dict[str, str]:
        """Limits of the queue, by Triton's names for them; without `complete` those that were asked for."""
        size = QUEUE_SIZE if complete and self.queue_size is None else self.queue_size
        seconds = QUEUE_SECONDS if complete and self.queue_seconds is None else self.queue_seconds
        policy = {} if size is None else {"max_queue_size": str(size)}
        if seconds is not None:
            policy |= {"default_timeout_microseconds": str(round(1e6 * seconds)), "timeout_action": "REJECT"}
            policy["allow_timeout_override"] = "true"
        return policy

    def _warm_up_input(self, name: str) -> str:
        array = self.warm_up[name]
        spec = f"data_type: {_TYPES[str(array.dtype)]} dims: {list(array.shape[1:])} input_data_file: {_quoted(name)}"
        return f"  inputs {{ key: {_quoted(name)} value {{ {spec} }} }}"


ACCELERATOR = 'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }'


def only(version: int) -> str:
    """A line of the file: no other version is loaded."""
    return f"version_policy {{ specific {{ versions: {version} }} }}"


def parameter(key: str, value: str) -> str:
    """A line of the file."""
    return f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"


def dims(spec: TensorSpec | WireSpec) -> list[int]:
    """A tensor's sizes without the batch's; -1 is any."""
    return [size if isinstance(size, int) else -1 for size in spec.shape[1:]]


def data_type(spec: TensorSpec | WireSpec) -> str:
    """Triton's name of a tensor's type."""
    return _TYPES[spec.dtype]


def _tensor(spec: TensorSpec | WireSpec, labels: str = "") -> str:
    names = f" label_filename: {_quoted(labels)}" if labels else ""
    optional = " optional: true" if isinstance(spec, WireSpec) and spec.optional else ""
    return f"{{ name: {_quoted(spec.name)} data_type: {data_type(spec)} dims: {dims(spec)}{names}{optional} }}"


def _step(step: Step) -> str:
    maps = [f"input_map {{ key: {_quoted(name)} value: {_quoted(name)} }}" for name in step.inputs]
    maps += [f"output_map {{ key: {_quoted(name)} value: {_quoted(name)} }}" for name in step.outputs]
    return f"{{ model_name: {_quoted(step.model)} model_version: {step.version} {' '.join(maps)} }}"


def _quoted(text: str) -> str:
    """A string in protobuf's text format: JSON's escapes of ASCII are understood there."""
    return json.dumps(text)
