"""Finding TensorRT: NVIDIA's `tensorrt`, or TensorRT for RTX, which builds without a GPU. Nothing else here imports them."""

from __future__ import annotations

import importlib
from typing import Any

from perceiver_runtime.common.errors import BackendError

NAMES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


def tensorrt() -> Any:
    """The module. Raises `BackendError` that says how to get it."""
    found = []
    for name in NAMES:
        try:
            return importlib.import_module(name)
        except ImportError as reason:
            if not (isinstance(reason, ModuleNotFoundError) and reason.name == name):
                found.append(f"{name}: {reason}")  # it is there, and lacks something
    reasons = f" ({'; '.join(found)})" if found else ""
    raise BackendError(
        f"TensorRT is not here{reasons}: on a Jetson use JetPack's own, in a virtual environment made with "
        "--system-site-packages; elsewhere pip install tensorrt"
    )


def for_rtx(trt: Any) -> bool:
    """Whether this is TensorRT for RTX, which is told what GPU to build for."""
    return hasattr(trt, "ComputeCapability")
