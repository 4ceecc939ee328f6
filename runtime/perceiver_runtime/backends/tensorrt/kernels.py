"""Execution contexts of an engine. TensorRT for RTX compiles kernels for the GPU it finds: kept for the next process."""

from __future__ import annotations

import threading
from typing import Any

from perceiver_runtime.backends.tensorrt.builder import TimingCache
from perceiver_runtime.backends.tensorrt.library import for_rtx


class Kernels:
    """What an engine's contexts compile, read from and written to a file. Threads may share it."""

    def __init__(self, trt: Any, file: TimingCache) -> None:
        self._compiles, self._file = for_rtx(trt), file
        self._cache: Any = None  # TensorRT's own, shared by the contexts
        self._kept = b""
        self._lock = threading.Lock()

    def new_context(self, engine: Any) -> Any:
        """A context; None where there is no room for one. What does not fit this GPU any more TensorRT itself passes over."""
        if not self._compiles:
            return engine.create_execution_context()
        with self._lock:
            settings = engine.create_runtime_config()
            if self._cache is None:
                self._cache, self._kept = settings.create_runtime_cache(), self._file.read()
                if self._kept:
                    self._cache.deserialize(self._kept)
            settings.set_runtime_cache(self._cache)
            return engine.create_execution_context(settings)

    def keep(self) -> None:
        """Write what there is to the file, unless nothing is new."""
        with self._lock:
            found = self._cache.serialize() if self._cache is not None else None
            data = b"" if found is None else bytes(memoryview(found))
            if data and data != self._kept:
                self._file.write(data)
                self._kept = data
