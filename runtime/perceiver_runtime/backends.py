"""What runs a bundle's graphs: ONNX Runtime on a CPU or GPU, TensorRT, or OpenVINO. The rules for which are here.

`auto` is TensorRT for a bundle made for it where TensorRT finds a GPU, else CUDA where this ONNX Runtime has it and it starts,
else the CPU with ONNX Runtime; with a limit of memory it is the CPU. A bundle that runs elsewhere than it was made for, or than
`auto` would take without a limit, is one `ProviderFallbackWarning` that says where and why. OpenVINO is taken only where it is
named. A device that is named is used, or an error says why it cannot be: nothing else is taken in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.arrays import Tensor
from perceiver_runtime.bundle import Bundle
from perceiver_runtime.errors import BackendError, ProviderFallbackWarning, UsageError
from perceiver_runtime.manifest import GraphEntry
from perceiver_runtime.memory_plan import Keeping
from perceiver_runtime.onnx_backend import OnnxGraph, choose_providers
from perceiver_runtime.openvino_backend import OpenVinoGraph
from perceiver_runtime.tensorrt.backend import missing, open_engines

OPENVINO = ("openvino", "openvino-bf16")
CPU = "CPUExecutionProvider"
DEVICES = ("auto", "cpu", "cuda", "tensorrt", "ort-tensorrt", *OPENVINO)


class Graph(Protocol):
    """A graph, ready to run. Threads may share it."""

    name: str
    entry: GraphEntry
    provider: str

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The outputs in order."""

    def run_kept(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs in order, left in the memory of what computed them."""

    def close(self) -> None:
        """Release what it holds."""


def open_graphs(
    bundle: Bundle, names: Sequence[str], *, device: str = "auto", threads: int | None = None, keep: bool = False
) -> dict[str, Graph]:
    """Some graphs of a bundle on a device, one of `DEVICES`; with `keep`, what takes little keeps its memory between runs.

    Raises `UsageError`, `BackendError`.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; available: {', '.join(DEVICES)}")
    if device == "auto":
        device = _chosen(bundle)
    if device == "tensorrt":
        return dict(open_engines(bundle, names))
    precision = bundle.manifest.precision
    if precision == "bf16" and (device in OPENVINO or choose_providers(device)[0] == CPU):
        raise BackendError(_no_bfloat16(bundle))
    graphs: dict[str, Graph] = {}
    for name in names:
        entry = bundle.manifest.graphs[name]
        graph = bundle.graph(name)
        if device in OPENVINO:
            graphs[name] = OpenVinoGraph(graph, bundle.weights, entry, device=device, precision=precision, threads=threads)
        else:
            keeping = Keeping.of(bundle.manifest, name) if keep else None
            graphs[name] = OnnxGraph(graph, bundle.weights, entry, device=device, threads=threads, keeping=keeping)
            if device == "auto" and graphs[name].provider == CPU:  # what did not start, and was warned of, is not tried again
                device = "cpu"
    return graphs


def without_gpu(bundle: Bundle) -> str:
    """The device in place of `auto` where memory is limited: the CPU, with a warning if `auto` would take another."""
    provider = choose_providers("auto")[0]
    if provider != CPU:
        _warn(f"{bundle.folder} runs on the CPU, not on {provider}: max_memory is planned for ONNX Runtime on a CPU")
    return "cpu"


def _chosen(bundle: Bundle) -> str:
    """What `auto` is for a bundle: `tensorrt`, or `auto` for the best that ONNX Runtime has."""
    if bundle.manifest.target != "tensorrt":
        return "auto"
    reason = missing()
    if not reason:
        return "tensorrt"
    try:
        provider = choose_providers("auto")[0]
    except BackendError as error:
        raise BackendError(
            f"{bundle.folder} was exported for TensorRT, which cannot run here: {reason}. ONNX Runtime could run it "
            f"on the CPU, slower: {error}"
        ) from error
    if bundle.manifest.precision == "bf16" and provider == CPU:
        raise BackendError(f"{_no_bfloat16(bundle)}. TensorRT cannot run here: {reason}")
    _warn(f"{bundle.folder} was exported for TensorRT and runs on {provider}, slower. TensorRT cannot run here: {reason}")
    return "auto"


def _no_bfloat16(bundle: Bundle) -> str:
    return f"{bundle.folder} is in bfloat16, which no CPU runs: use TensorRT, or export it with --fp16"


def _warn(message: str) -> None:
    warnings.warn(message, ProviderFallbackWarning, stacklevel=4)
