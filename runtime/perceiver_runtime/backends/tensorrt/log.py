"""What TensorRT says when something goes wrong: its functions return None or False, the reason is in its log."""

from __future__ import annotations

from typing import Any

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
