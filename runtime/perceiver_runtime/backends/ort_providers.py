"""ONNX Runtime's execution providers: one record each, with the options that a session gets, and NVIDIA's libraries for them.

Options are those of onnxruntime-gpu 1.20 to 1.31. What is decided:

- `use_tf32` is 0 in every precision. ONNX Runtime's default, 1, rounds the inputs of float32 products to 10 bits: a float32
  bundle would have float16's digits, and what an fp16 bundle keeps in float32 is kept for its digits. TensorRT inside ONNX
  Runtime has no such option: NVIDIA_TF32_OVERRIDE=0 in the environment forbids it there, and the provider's line says which.
- `cudnn_conv_algo_search` is HEURISTIC where a size is dynamic: a search takes long, and is done again for each new shape.
- `arena_extend_strategy` is kSameAsRequested: values are few and large, and doubling would take up to twice as much.
- CUDA graphs are off. ONNX Runtime records once, for inputs and outputs at fixed addresses, and every later run has to have the
  same shapes: batches, chunks of queries and texts differ. The device `tensorrt` replays, with a recording for its shapes.
- `gpu_mem_limit` is the memory limit that a user gave, for each graph; memory goes back after each run then.
- TensorRT's engines and measurements stay in the user's cache, in a folder for this bundle, machine and version.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"


@dataclass(frozen=True)
class Session:
    """What options depend on.

    `dynamic`: whether an input has a size that is not fixed. `max_memory` in bytes. `engines` and `timings` are folders of the
    user's, for TensorRT.
    """

    precision: str
    gpu: int = 0
    dynamic: bool = True
    max_memory: int | None = None
    engines: Path | None = None
    timings: Path | None = None


@dataclass(frozen=True)
class Provider:
    """An execution provider: its name, its options, what it makes of float32, and where it has values."""

    name: str
    options: Callable[[Session], Mapping[str, str]]
    float32: Callable[[], str] = lambda: ""
    memory: str = "cpu"


def _cuda(session: Session) -> dict[str, str]:
    options = {
        "device_id": str(session.gpu),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC" if session.dynamic else "EXHAUSTIVE",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "0",
    }
    return options if session.max_memory is None else options | {"gpu_mem_limit": str(session.max_memory)}


def _tensorrt(session: Session) -> dict[str, str]:
    options = {"device_id": str(session.gpu)}
    if session.precision == "fp16":
        options |= {"trt_fp16_enable": "1", "trt_layer_norm_fp32_fallback": "1"}
    if session.engines is not None:
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(session.engines)}
    if session.timings is not None:
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(session.timings)}
    return options


def _tf32_of_tensorrt() -> str:
    forbidden = os.environ.get(TF32_VARIABLE) == "0"
    return "float32 without TF32" if forbidden else f"float32 with TF32 unless {TF32_VARIABLE}=0"


CPU = Provider("CPUExecutionProvider", lambda session: {})
CUDA = Provider("CUDAExecutionProvider", _cuda, lambda: "float32 without TF32", "cuda")
TENSORRT = Provider("TensorrtExecutionProvider", _tensorrt, _tf32_of_tensorrt, "cuda")
PROVIDERS = {provider.name: provider for provider in (CPU, CUDA, TENSORRT)}
# by device: the first should start, the next ones run what it does not take
BY_DEVICE = {"cpu": (CPU.name,), "cuda": (CUDA.name, CPU.name), "ort-tensorrt": (TENSORRT.name, CUDA.name, CPU.name)}


def line(name: str, gpu: int) -> str:
    """A provider for people: what runs, on which GPU, and what float32 is there."""
    provider = PROVIDERS.get(name)
    said = provider.float32() if provider is not None else ""
    return f"{name} ({f'GPU {gpu}, ' if gpu else ''}{said})" if said else name


@cache
def load_libraries(library: Any) -> str:
    """Load CUDA's and cuDNN's libraries of NVIDIA's wheels, once, for ONNX Runtime does not look there; what failed.

    Where there are no such wheels, libraries of the system, or torch's, are found as before.
    """
    if not hasattr(library, "preload_dlls"):  # before 1.21
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints, and standard output is a command's answer
        try:
            library.preload_dlls()
        except (OSError, RuntimeError) as error:
            return str(error)
    return "; ".join(line for line in said.getvalue().splitlines() if line.startswith("Failed"))
