"""A built engine and its execution contexts, which threads take turns with.

A run takes an idle context: one that ran the same shapes last, for it has a recorded CUDA graph of them, else the one that was
idle longest, which records anew. There are as many as threads ran at the same time, `MOST_CONTEXTS` at most and no more than
the GPU has room for: a thread waits for one. When a thread ends, what the others do not need is released.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from perceiver_runtime.backends.cuda import Cuda
from perceiver_runtime.backends.tensorrt.context import Context, Shapes
from perceiver_runtime.backends.tensorrt.kernels import Kernels
from perceiver_runtime.backends.tensorrt.log import new_log, translated
from perceiver_runtime.backends.tensorrt.memory import Pool
from perceiver_runtime.backends.tensorrt.releases import hand_over, nothing_released
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import BackendError, InputError

MOST_CONTEXTS = 4  # of one engine: each has memory for all that is computed on the way


class Engine:
    """A built engine on this machine's GPU. Threads may share it."""

    def __init__(self, trt: Any, cuda: Cuda, pool: Pool, plan: bytes, entry: GraphEntry, name: str, kernels: Kernels) -> None:
        """Raises `BackendError` where the engine does not fit this TensorRT, this GPU or this graph."""
        self.cuda, self.pool, self.entry, self.name, self.kernels = cuda, pool, entry, name, kernels
        cuda.use()
        self._log = new_log(trt)
        with translated(f"{name}: the engine cannot be loaded", self._log):
            self._open(trt, plan)
        self._idle: list[Context] = []  # the one that was idle longest first
        self._contexts, self._most = 0, MOST_CONTEXTS
        self._threads, self._thread = 0, threading.local()
        self._ended: deque[None] = deque()  # threads, as their destructors say
        self._changed = threading.Condition(threading.Lock())

    def _open(self, trt: Any, plan: bytes) -> None:
        runtime = self._runtime = trt.Runtime(self._log)
        engine = self._engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(
                f"{self.name}: the engine does not fit TensorRT {trt.__version__} or this GPU ({self._log.last()})"
            )
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        found = {(each, engine.get_tensor_mode(each) == trt.TensorIOMode.INPUT) for each in names}
        wanted = {(spec.name, True) for spec in self.entry.inputs} | {(spec.name, False) for spec in self.entry.outputs}
        if found != wanted:
            raise BackendError(f"{self.name}: the engine has the tensors {sorted(names)}, which are not the graph's")
        for spec in (*self.entry.inputs, *self.entry.outputs):
            if np.dtype(trt.nptype(engine.get_tensor_dtype(spec.name))) != np.dtype(spec.dtype):
                raise BackendError(f"{self.name}: the engine's {spec.name} is not {spec.dtype}, as the graph's is")
        self._profiles = [  # input: its smallest, best and largest shape
            {spec.name: tuple(map(tuple, engine.get_tensor_profile_shape(spec.name, number))) for spec in self.entry.inputs}
            for number in range(engine.num_optimization_profiles)
        ]

    def run(self, inputs: Mapping[str, Tensor], *, keep: bool = False) -> list[Tensor]:
        """The outputs in order, with `keep` on the GPU. Raises `InputError`, `BackendError`."""
        self.cuda.use()
        shapes = {spec.name: tuple(inputs[spec.name].shape) for spec in self.entry.inputs}
        profile = self._profile(shapes)
        runner = self._take(shapes)
        try:
            results = runner.run(inputs, profile, keep=keep)
        except BaseException:
            self._drop(runner)  # something may be queued still
            raise
        else:
            self._give_back(runner)
        finally:
            self._settle()
        return results

    def _profile(self, shapes: Shapes) -> int:
        """The tightest optimization profile that has room for some shapes. Raises `InputError`."""
        fitting = [
            (sum(math.prod(most) for _, _, most in spans.values()), number)
            for number, spans in enumerate(self._profiles)
            if all(_within(shapes[name], least, most) for name, (least, _, most) in spans.items())
        ]
        if fitting:
            return min(fitting)[1]
        ranges = {name: list(dict.fromkeys(each[name] for each in self._profiles)) for name in shapes}
        outside = [name for name, shape in shapes.items() if not any(_within(shape, *each[::2]) for each in ranges[name])]
        name = [*outside, *shapes][0]
        built = ", or ".join(f"{least} to {most}, best {best}" for least, best, most in ranges[name])
        raise InputError(
            f"{self.name}: {name} has shape {shapes[name]}, the engine was built for {built}: "
            "build another with perceiver build --profile, within what the bundle allows"
        )

    def _take(self, shapes: Shapes) -> Context:
        """A context for this thread, which waits for one where there are enough."""
        if not hasattr(self._thread, "visit"):
            self._thread.visit = _Visit(self)
            with self._locked():
                self._threads += 1
        while True:
            with self._locked():
                self._changed.wait_for(lambda: self._engine is None or self._idle or self._contexts < self._most)
                engine = self._engine
                if engine is None:
                    raise BackendError(f"{self.name} cannot run: this pipeline was closed: load the bundle again")
                if self._idle:
                    same = [place for place, each in enumerate(self._idle) if each.shapes == shapes]
                    return self._idle.pop(same[-1] if same else 0)
                self._contexts += 1
            try:
                return self._new_context(engine)
            except BaseException as error:
                with self._locked():
                    self._contexts -= 1
                    wait = self._contexts > 0 and isinstance(error, BackendError)
                    if wait:
                        self._most = self._contexts  # the GPU has room for so many
                    self._changed.notify_all()
                if not wait:
                    raise

    def _new_context(self, engine: Any) -> Context:
        with translated(f"{self.name}: no execution context", self._log):
            context = self.kernels.new_context(engine)
        if context is None:
            raise BackendError(f"{self.name}: no room on the GPU for what is computed on the way ({self._log.last()})")
        return Context(engine, context, self.entry, self.name, self.pool, self._log)

    def _give_back(self, runner: Context) -> None:
        with self._locked():
            closed = self._engine is None
            if not closed:
                self._idle.append(runner)
            self._changed.notify()
        if closed:
            self._drop(runner)

    def _drop(self, runner: Context) -> None:
        runner.close()
        with self._locked():
            self._contexts -= 1
            self._changed.notify()

    def thread_ended(self) -> None:
        """One of those that ran this engine. Never waits, for a destructor says it."""
        self._ended.append(None)
        self._settle()

    def _settle(self) -> None:
        """Release what fewer threads do not need, one context excepted; a thread that has the lock does it later."""
        with nothing_released():
            while self._ended and self._changed.acquire(blocking=False):
                try:
                    while self._ended:
                        self._ended.popleft()
                        self._threads -= 1
                    while self._idle and self._contexts > max(1, self._threads):
                        hand_over(self._idle.pop(0).close)
                        self._contexts -= 1
                finally:
                    self._changed.release()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """A release that a garbage collection hands over meanwhile may want the lock too: it waits."""
        with nothing_released(), self._changed:
            yield

    def close(self) -> None:
        """Release contexts, engine and runtime, in that order; a context in use goes when its run ends."""
        with self._locked():
            runners, self._idle = self._idle, []
            self._contexts -= len(runners)
            self._engine = self._runtime = None
            self._changed.notify_all()
        for runner in runners:
            runner.close()
        self.pool.close()


class _Visit:
    """A thread that runs an engine: gone when the thread is."""

    def __init__(self, owner: Engine) -> None:
        self._owner = weakref.ref(owner)

    def __del__(self) -> None:
        owner = self._owner()
        if owner is not None:
            owner.thread_ended()


def _within(shape: tuple[int, ...], least: tuple[int, ...], most: tuple[int, ...]) -> bool:
    return len(shape) == len(least) and all(low <= size <= high for low, size, high in zip(least, shape, most))
