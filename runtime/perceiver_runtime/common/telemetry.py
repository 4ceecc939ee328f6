"""Importing engines without their telemetry: nothing is sent, and nothing is written under the user's folders.

ONNX Runtime writes a device id and a database of events into the user's cache as soon as it is imported (1.31 and 1.32 do, on
Linux too), before its own API can be called. So the variable that it reads while it is imported is set first; its API
switches off what came with an import before ours. OpenVINO sends an event when it is imported, through the package
openvino-telemetry; without that package it has a stub, and gets the stub here.

What a program imported before it used this package cannot be undone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_VARIABLE = "ORT_DISABLE_TELEMETRY"
_OPENVINO_SENDER = "openvino_telemetry"


def import_onnxruntime() -> Any:
    """The module. `ORT_DISABLE_TELEMETRY` stays set, for child processes too; a value it had is kept. Raises `ImportError`."""
    os.environ.setdefault(_VARIABLE, "1")
    library = importlib.import_module("onnxruntime")
    if hasattr(library, "disable_telemetry_events"):
        library.disable_telemetry_events()
    return library


def import_openvino() -> Any:
    """The module, with what is needed to read ONNX graphs. Raises `ImportError`."""
    with _as_if_missing(_OPENVINO_SENDER):
        library = importlib.import_module("openvino")
    importlib.import_module("openvino.frontend.onnx")
    importlib.import_module("openvino.opset13")
    return library


@contextlib.contextmanager
def _as_if_missing(name: str) -> Iterator[None]:
    """Importing a module fails meanwhile, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
