"""What runs a bundle's graphs: ONNX Runtime on a CPU or GPU, TensorRT, or OpenVINO. The rules for which are here.

`auto` is TensorRT for a bundle made for it where TensorRT finds a GPU, else CUDA where this ONNX Runtime has it and it starts,
else the CPU with ONNX Runtime; OpenVINO is taken only where it is named. A device that is named is used, or an error says why
it cannot be: nothing else is taken in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.arrays import Tensor
from perceiver_runtime.bundle import Bundle
from perceiver_runtime.errors import BackendError, UsageError
from perceiver_runtime.manifest import GraphEntry
from perceiver_runtime.memory_plan import Keeping
from perceiver_runtime.onnx_backend import OnnxGraph, choose_providers
from perceiver_runtime.openvino_backend import OpenVinoGraph
from perceiver_runtime.tensorrt.backend import missing, open_engines

OPENVINO = ("openvino", "openvino-bf16")
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
    if device == "tensorrt" or (device == "auto" and bundle.manifest.target == "tensorrt" and not missing()):
        return dict(open_engines(bundle, names))
    precision = bundle.manifest.precision
    if precision == "bf16" and (device in OPENVINO or choose_providers(device)[0] == "CPUExecutionProvider"):
        raise BackendError(f"{bundle.folder} is in bfloat16, which no CPU runs: use TensorRT, or export it with --fp16")
    graphs: dict[str, Graph] = {}
    for name in names:
        entry = bundle.manifest.graphs[name]
        graph = bundle.graph(name)
        if device in OPENVINO:
            graphs[name] = OpenVinoGraph(graph, bundle.weights, entry, device=device, precision=precision, threads=threads)
        else:
            keeping = Keeping.of(bundle.manifest, name) if keep else None
            graphs[name] = OnnxGraph(graph, bundle.weights, entry, device=device, threads=threads, keeping=keeping)
    return graphs
