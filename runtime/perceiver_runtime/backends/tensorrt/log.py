"""What TensorRT says when something goes wrong: its functions return None or False, or raise; the reason is in its log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from perceiver_runtime.common.errors import BackendError, PerceiverError

_KEPT = 3


def new_log(trt: Any) -> Any:
    """A `trt.ILogger` that keeps the last errors; `last()` is their text."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.messages = [*self.messages, message][-_KEPT:]

        def last(self) -> str:
            return "; ".join(self.messages) or "it does not say why"

    return Log()


@contextlib.contextmanager
def translated(doing: str, log: Any) -> Iterator[None]:
    """Whatever TensorRT's bindings raise is a `BackendError` that says what was being done."""
    try:
        yield
    except PerceiverError:
        raise
    except Exception as error:  # RuntimeError, TypeError, ValueError, MemoryError of pybind's making
        raise BackendError(f"{doing}: TensorRT raised {type(error).__name__}, {error} ({log.last()})") from error
