"""The requests of one call of a pipeline: answered by one time, sent with the same headers, cancelled together."""

from __future__ import annotations

import contextlib
import contextvars
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_OPEN: contextvars.ContextVar[Call | None] = contextvars.ContextVar("call", default=None)


class Call:
    """Requests to one server that end by one time."""

    def __init__(self, owner: object, seconds: float, headers: Mapping[str, str], request_id: str) -> None:
        self.metadata, self.request_id = tuple(headers.items()), request_id
        self.owner, self._end = owner, time.monotonic() + seconds
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._sent: set[Any] = set()

    @property
    def left(self) -> float:
        """Seconds; more than 0, for nothing is sent without time."""
        return max(0.001, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether there is no time left, or it was cancelled."""
        return self._stopped.is_set() or time.monotonic() >= self._end

    def wait(self, seconds: float) -> None:
        """A pause between tries, which ends where the call does."""
        self._stopped.wait(min(seconds, self.left))

    @contextlib.contextmanager
    def sending(self, request: Any) -> Iterator[None]:
        """A request that is on its way: cancelled with the call, and by an interruption."""
        with self._lock:
            self._sent.add(request)
        if self._stopped.is_set():
            request.cancel()
        try:
            yield
        except BaseException:
            request.cancel()
            raise
        finally:
            with self._lock:
                self._sent.discard(request)

    def cancel(self) -> None:
        """Take back what is on its way; what waits in the server's queue is not computed."""
        self._stopped.set()
        with self._lock:
            sent = list(self._sent)
        for request in sent:
            request.cancel()


def open_call(owner: object) -> Call | None:
    """The call of this server that is open here, in this thread or in the one that started this work."""
    call = _OPEN.get()
    return call if call is not None and call.owner is owner else None


@contextlib.contextmanager
def opened(call: Call) -> Iterator[Call]:
    """Requests inside are of this call; an error that leaves it cancels the others."""
    token = _OPEN.set(call)
    try:
        yield call
    except BaseException:
        call.cancel()
        raise
    finally:
        _OPEN.reset(token)


class Backoff:
    """Pauses before another try: each twice the one before, with chance so that clients do not come back together."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next, self._end = seconds, _FIRST_PAUSE, 0.0

    def pause(self) -> float | None:
        """Seconds, or None where the time is over, which began with the first pause."""
        now = time.monotonic()
        self._end = self._end or now + self._seconds
        pause, self._next = self._next * random.uniform(0.5, 1.0), min(2 * self._next, _LONGEST_PAUSE)
        return min(pause, self._end - now) if now + _FIRST_PAUSE / 2 < self._end else None
