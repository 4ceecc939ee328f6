"""Releasing what CUDA and TensorRT hold, when a destructor says so.

A destructor runs wherever a garbage collection happens to: in a thread that holds a lock, or that is recording a CUDA graph,
where freeing memory would spoil the recording. So destructors only hand over; the work is done at once where nothing speaks
against it, else by whoever is in the way, as soon as it is not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator

from perceiver_runtime.common.errors import BackendError

_logger = logging.getLogger("perceiver_runtime")
_waiting: deque[Callable[[], None]] = deque()
_lock = threading.Lock()
_here = threading.local()


def hand_over(release: Callable[[], None]) -> None:
    """Have it called soon, by some thread. Never waits."""
    _waiting.append(release)
    _settle()


@contextlib.contextmanager
def nothing_released() -> Iterator[None]:
    """Release nothing in this thread meanwhile: it records, or holds a lock that a release wants."""
    _here.busy = getattr(_here, "busy", 0) + 1
    try:
        yield
    finally:
        _here.busy -= 1
        _settle()


def _settle() -> None:
    while not getattr(_here, "busy", 0) and _waiting and _lock.acquire(blocking=False):
        try:
            while _waiting:
                _release(_waiting.popleft())
        finally:
            _lock.release()


def _release(release: Callable[[], None]) -> None:
    try:
        release()
    except BackendError as error:  # nobody is there to catch it
        _logger.warning("some of the GPU's memory could not be released: %s", error)


def _forget() -> None:
    """In a forked child, where CUDA does not work: what waits is the parent's."""
    global _lock
    _lock = threading.Lock()
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
