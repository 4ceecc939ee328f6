"""Bounded work: so many requests run at once, so many wait, and each ends in time.

A request takes its place before its body is read, so that memory is bounded too; it leaves it when its thread is done. A thread
cannot be ended from outside: a request that is late, or whose client went, is stopped before the next run of a graph (a tile, a
chunk of queries), and keeps its place until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

from perceiver_runtime.backends.device import Graph
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.serving.http.errors import HttpError, Stopped

T = TypeVar("T")
_own = threading.local()  # the call that a thread works on


class Call:
    """A request, and when its answer is too late. `clock` is that of `time.monotonic`."""

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.submitted = self.stopped = False  # to a thread; because nobody waits

    def left(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self.end - time.monotonic())

    def check(self) -> None:
        """Raise `Stopped` where nobody waits for it."""
        if self.stopped or time.monotonic() >= self.end:
            raise Stopped


class StoppedGraph:
    """A graph that is not run for a call that was stopped: `perceiver_runtime.backends.device.Graph`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.name, self.entry = graph.name, graph.entry
        self.provider, self.arithmetic = graph.provider, graph.arithmetic

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[Any]]:
        """The outputs in order."""
        _check_call()
        return self._graph.run(inputs)

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs in order, left where they are."""
        _check_call()
        return self._graph.run_on_device(inputs)

    def close(self) -> None:
        """Release what it holds."""
        self._graph.close()


def _check_call() -> None:
    call = getattr(_own, "call", None)
    if call is not None:
        call.check()


class Work:
    """The threads. Its methods are for the event loop's thread."""

    def __init__(self, *, concurrency: int, queue: int, timeout: float) -> None:
        self.concurrency, self.queue, self.timeout = concurrency, queue, timeout
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="perceiver")
        self._lock = threading.Lock()
        self._inside = 0
        self.running = 0
        self._seconds = 1.0  # what an answer takes, about

    @property
    def waiting(self) -> int:
        """Requests that have a place and do not run."""
        return max(0, self._inside - self.running)

    @contextlib.contextmanager
    def place(self) -> Iterator[Call]:
        """A place for a request. Raises `HttpError` 503 where none is free, with when to try again."""
        with self._lock:
            if self._inside >= self.concurrency + self.queue:
                wait = math.ceil(self._seconds * (self.queue + 1) / self.concurrency)
                raise HttpError(
                    503, "too many requests are waiting: try again later", {"Retry-After": str(min(60, max(1, wait)))}
                )
            self._inside += 1
        call = Call(self.timeout)
        try:
            yield call
        finally:
            if not call.submitted:
                self._leave()

    async def run(self, call: Call, function: Callable[[], T], gone: Awaitable[None]) -> T:
        """What `function` gives in a thread. Raises `HttpError` 504 where it is late, `Stopped` where `gone` comes first."""
        future: Future[T] = self._pool.submit(self._run, call, function)
        call.submitted = True
        future.add_done_callback(lambda _: self._leave())
        answer: asyncio.Future[Any] = asyncio.wrap_future(future)
        listener: asyncio.Future[Any] = asyncio.ensure_future(gone)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it any more
        try:
            await asyncio.wait({answer, listener}, timeout=call.left(), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                found: T = answer.result()
                return found
            call.stopped = True
            future.cancel()
            if listener.done():
                raise Stopped
            raise _late(self.timeout)
        except Stopped:
            raise (Stopped() if listener.done() else _late(self.timeout)) from None
        finally:
            listener.cancel()

    def _run(self, call: Call, function: Callable[[], T]) -> T:
        call.check()
        _own.call = call
        with self._lock:
            self.running += 1
        began = time.monotonic()
        try:
            return function()
        finally:
            _own.call = None
            with self._lock:
                self.running -= 1
                self._seconds += (time.monotonic() - began - self._seconds) / 8

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """No more work; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _late(timeout: float) -> HttpError:
    return HttpError(504, f"no answer within {timeout:g} s: the server is busy, or this input is too large for it")
