"""Finding TensorRT: NVIDIA's `tensorrt`, or TensorRT for RTX, which builds without a GPU. Nothing else here imports them."""

from __future__ import annotations

import importlib
from typing import Any

from perceiver_runtime.common.errors import BackendError

RTX_NAMES = ("tensorrt_rtx", "tensorrt_rtx_bindings")
NAMES = ("tensorrt", *RTX_NAMES)


def tensorrt() -> Any:
    """The module: NVIDIA's `tensorrt`, or TensorRT for RTX. Raises `BackendError` that says how to get it."""
    return _found(
        NAMES,
        "TensorRT is not here{}: on a Jetson use JetPack's own, in a virtual environment made with --system-site-packages; "
        "elsewhere pip install tensorrt",
    )


def tensorrt_rtx() -> Any:
    """The module of TensorRT for RTX. Raises `BackendError` that says how to get it."""
    return _found(
        RTX_NAMES,
        "TensorRT for RTX is not here{}: pip install 'perceiver-runtime[tensorrt-rtx]', on x86-64 alone",
    )


def _found(names: tuple[str, ...], missing: str) -> Any:
    """The first module that is here."""
    found = []
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as reason:
            if not (isinstance(reason, ModuleNotFoundError) and reason.name == name):
                found.append(f"{name}: {reason}")  # it is there, and lacks something
    raise BackendError(missing.format(f" ({'; '.join(found)})" if found else ""))


def for_rtx(trt: Any) -> bool:
    """Whether this is TensorRT for RTX, which is told what GPU to build for."""
    return hasattr(trt, "ComputeCapability")
