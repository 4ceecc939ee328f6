"""Running a bundle's graphs on ONNX Runtime: the only module that imports it.

Sessions are opened by path after the bundle was verified. The CPU memory arena and the memory pattern are off: memory goes
back after each run, and the peak stays near what one run needs.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.errors import BackendError, ProviderFallbackWarning, UsageError
from perceiver_runtime.manifest import GraphEntry

DEVICES = ("auto", "cpu", "cuda", "tensorrt")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_LOG_ERRORS_ONLY = 3  # a severity of ONNX Runtime


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_provider(device: str) -> str:
    """The execution provider for `device`: `auto` takes CUDA where this ONNX Runtime has it, else the CPU.

    Raises `UsageError` for an unknown device and `BackendError` for one that this machine or version lacks.
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; available: {', '.join(DEVICES)}")
    if device == "tensorrt":
        raise BackendError("device 'tensorrt' is not in this version of perceiver-runtime yet: use 'cuda' or 'cpu'")
    available = _onnxruntime().get_available_providers()
    if device == "auto":
        device = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    if _PROVIDERS[device] not in available:
        raise BackendError(
            f"device {device!r} needs ONNX Runtime's {_PROVIDERS[device]}, this one has {', '.join(available)}: "
            "pip install onnxruntime-gpu in place of onnxruntime, or use device='cpu'"
        )
    return _PROVIDERS[device]


class OnnxGraph:
    """One graph, ready to run. Threads may share it."""

    def __init__(self, path: Path, entry: GraphEntry, *, device: str = "auto", threads: int | None = None) -> None:
        """Open the graph. `threads` defaults to the cores this process may use."""
        onnxruntime = _onnxruntime()
        provider = choose_provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = _LOG_ERRORS_ONLY
        providers = list(dict.fromkeys([provider, _PROVIDERS["cpu"]]))
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises a dozen kinds, all of its own
            raise BackendError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {error}") from error
        self.name = path.name
        self.entry = entry
        self.provider: str = self._session.get_providers()[0]
        if self.provider != provider:
            warnings.warn(
                f"{path.name} runs on {self.provider}: ONNX Runtime could not start {provider} "
                "(its libraries do not load; check the CUDA and cuDNN versions it needs)",
                ProviderFallbackWarning,
                stacklevel=2,
            )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """The graph's outputs in order, for inputs by name. Raises `BackendError` if it fails or gives NaN or infinity."""
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, dict(inputs))
        except Exception as error:
            raise BackendError(f"{self.name} failed while running: {error}") from error
        for spec, output in zip(self.entry.outputs, outputs):
            if not np.isfinite(output).all():
                raise BackendError(f"{self.name} gave NaN or infinity in its output {spec.name}")
        return outputs

    def close(self) -> None:
        """Release the session and its memory."""
        self._session = _Closed()


class _Closed:
    def run(self, *_: object) -> None:
        raise RuntimeError("this pipeline was closed: load the bundle again")


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise BackendError(
            f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime, or onnxruntime-gpu for a GPU"
        ) from error
