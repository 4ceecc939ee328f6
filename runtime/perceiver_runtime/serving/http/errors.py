"""What a client is told, and the status that goes with it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from perceiver_runtime.common.errors import InputError, PerceiverError, UsageError

_OBJECT = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>")  # how libraries call what they read from memory
FAILED = "the server failed on this request; its log says why"


class HttpError(Exception):
    """A request that gets an error: its status, one sentence, and headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


class Stopped(Exception):
    """Nobody waits for this answer any longer."""


def told(error: PerceiverError) -> HttpError:
    """An error of this package for a client: of its own input all, of the server's files and engines nothing."""
    if isinstance(error, (InputError, UsageError)):
        return HttpError(400, _OBJECT.sub("the file", str(error)))
    return HttpError(500, FAILED)
