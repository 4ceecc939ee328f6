"""Engines and `fork`: what a process opened cannot be used in a child that was forked from it.

An engine's threads, CUDA and gRPC do not survive a fork: a call might answer, and to release the engine would wait for ever for
threads that are not there. So in the child each use is one error, closing does nothing, and what was inherited is never
released: the child's exit is clean. A pipeline that the child loads itself is as good as any.
"""

from __future__ import annotations

import ctypes
import os
import weakref

from perceiver_runtime.common.errors import UsageError

_opened: weakref.WeakSet[Opened] = weakref.WeakSet()


class Opened:
    """What holds an engine, or what came from one: of the process that made it."""

    _process: int

    def opened_here(self) -> None:
        """To be called when it is made."""
        self._process = os.getpid()
        _opened.add(self)

    @property
    def inherited(self) -> bool:
        """Whether another process made it, which this one was forked from."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Raise `UsageError` where it was inherited."""
        if self.inherited:
            raise UsageError(
                f"this pipeline was loaded by process {self._process}, which process {os.getpid()} was forked from, and no "
                "engine survives a fork: load it in this process (gunicorn: without --preload, or in post_fork; "
                "multiprocessing: in the worker, or with the start method spawn)"
            )


def _keep_for_ever() -> None:
    for each in list(_opened):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))  # and so all that it refers to
    _opened.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_for_ever)
