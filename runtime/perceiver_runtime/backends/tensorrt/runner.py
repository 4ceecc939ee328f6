"""Running an engine with numpy arrays: own streams, pinned staging, replay of CUDA graphs, a context for each thread.

A thread takes an idle execution context, or makes one. What a context is given and what it gives lives in blocks of the
pool; results that are to stay on the GPU keep theirs. With shapes and addresses seen before, the recorded CUDA graph is
launched in place of TensorRT's own queueing.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.backends.cuda import TO_DEVICE, TO_HOST, Cuda, CudaError
from perceiver_runtime.backends.tensorrt.kernels import Kernels
from perceiver_runtime.backends.tensorrt.log import new_log
from perceiver_runtime.backends.tensorrt.memory import EngineArray, Pool
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import BackendError, InputError

_MAX_GRAPHS = 4  # recorded for one context, for addresses that take turns


class Engine:
    """A built engine on this machine's GPU. Threads may share it."""

    def __init__(self, trt: Any, cuda: Cuda, pool: Pool, plan: bytes, entry: GraphEntry, name: str, kernels: Kernels) -> None:
        """Raises `BackendError` where the engine does not fit this TensorRT, this GPU or this graph."""
        self.trt, self.cuda, self.pool, self.entry, self.name = trt, cuda, pool, entry, name
        cuda.use()
        self._log = new_log(trt)
        runtime = self._runtime = trt.Runtime(self._log)
        engine = self._engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{name}: the engine does not fit TensorRT {trt.__version__} or this GPU ({self._log.last()})")
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        found = {(each, engine.get_tensor_mode(each) == trt.TensorIOMode.INPUT) for each in names}
        wanted = {(spec.name, True) for spec in entry.inputs} | {(spec.name, False) for spec in entry.outputs}
        if found != wanted:
            raise BackendError(f"{name}: the engine has the tensors {sorted(names)}, which are not the graph's")
        for spec in (*entry.inputs, *entry.outputs):
            if np.dtype(trt.nptype(engine.get_tensor_dtype(spec.name))) != np.dtype(spec.dtype):
                raise BackendError(f"{name}: the engine's {spec.name} is not {spec.dtype}, as the graph's is")
        self.kernels = kernels
        self._idle: list[_Context] = []
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Tensor], *, keep: bool = False) -> list[Tensor]:
        """The outputs in order, with `keep` on the GPU. Raises `InputError`, `BackendError`."""
        self.cuda.use()
        with self._lock:
            if self._engine is None:
                raise BackendError(f"{self.name} cannot run: this pipeline was closed: load the bundle again")
            runner = self._idle.pop() if self._idle else None
        runner = runner or self._new_context()
        try:
            results = runner.run(inputs, keep=keep)
        except BaseException:
            runner.close()  # something may be queued still
            raise
        with self._lock:
            reusable = self._engine is not None
            if reusable:
                self._idle.append(runner)
        if not reusable:
            runner.close()
        return results

    def _new_context(self) -> _Context:
        engine = self._engine
        context = self.kernels.new_context(engine) if engine is not None else None
        if context is None:
            raise BackendError(f"{self.name}: no room on the GPU for what is computed on the way ({self._log.last()})")
        return _Context(self, engine, context, self._log)

    def close(self) -> None:
        """Release contexts, engine and runtime, in that order; a context in use goes when its run ends."""
        with self._lock:
            runners, self._idle = self._idle, []
            self._engine = self._runtime = None
        for runner in runners:
            runner.close()


class _Context:
    """One thread at a time runs it."""

    def __init__(self, owner: Engine, engine: Any, context: Any, log: Any) -> None:
        self.entry, self.cuda, self.pool, self.name = owner.entry, owner.cuda, owner.pool, owner.name
        self._engine, self._context, self._log = engine, context, log  # the engine outlives its context
        self._stream = self.cuda.new_stream()
        self._staging: dict[str, tuple[int, int]] = {}  # name: bytes, address in pinned memory
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._seen: dict[tuple[int, ...], int | None] = {}  # addresses: their CUDA graph, once recorded
        self._recordable = True

    def run(self, inputs: Mapping[str, Tensor], *, keep: bool) -> list[Tensor]:
        """As `Engine.run`."""
        self._set_shapes({spec.name: tuple(inputs[spec.name].shape) for spec in self.entry.inputs})
        given = {spec.name: self._given(spec.name, inputs[spec.name], spec.dtype) for spec in self.entry.inputs}
        context = self._context
        unknown = context.infer_shapes()
        if unknown:
            raise BackendError(f"{self.name}: TensorRT cannot tell the shapes of {', '.join(unknown)} ({self._log.last()})")
        outputs = []
        for spec in self.entry.outputs:
            shape = tuple(int(size) for size in context.get_tensor_shape(spec.name))
            dtype = np.dtype(spec.dtype)
            outputs.append(EngineArray(self.pool.take(int(np.prod(shape)) * dtype.itemsize), shape, dtype))
        named = [*given.items(), *zip([spec.name for spec in self.entry.outputs], outputs)]
        for name, array in named:
            if not context.set_tensor_address(name, array.address):
                raise BackendError(f"{self.name}: TensorRT refuses the address of {name} ({self._log.last()})")
        self._execute(tuple(array.address for _, array in named))
        results: list[Tensor] = list(outputs) if keep else self._fetch(outputs)
        self.cuda.wait(self._stream)
        return results if keep else [result.copy() for result in results if isinstance(result, np.ndarray)]

    def _given(self, name: str, value: Tensor, dtype: str) -> EngineArray:
        if isinstance(value, EngineArray):
            return value
        if not isinstance(value, np.ndarray):
            raise BackendError(f"{self.name}: {name} lives on another backend's GPU memory")
        array = np.ascontiguousarray(value, dtype)
        result = EngineArray(self.pool.take(array.nbytes), array.shape, array.dtype)
        staging = self._pinned(name, array.nbytes)
        ctypes.memmove(staging, array.ctypes.data, array.nbytes)
        self.cuda.copy(result.address, staging, array.nbytes, TO_DEVICE, self._stream)
        return result

    def _set_shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        self._forget()
        self._shapes = {}
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                least, best, most = (tuple(each) for each in self._engine.get_tensor_profile_shape(name, 0))
                raise InputError(
                    f"{self.name}: {name} has shape {shape}, the engine was built for {least} to {most}, best {best}: "
                    "build another with perceiver build --profile, within what the bundle allows"
                )
        self._shapes = shapes

    def _execute(self, addresses: tuple[int, ...]) -> None:
        """Queue the work: directly the first time, the second time recording it, launched as recorded from then on."""
        graph = self._seen.get(addresses)
        if graph is None and addresses in self._seen and self._recordable:
            graph = self._record()
            self._seen[addresses] = graph
        if graph is not None:
            self.cuda.launch(graph, self._stream)
            return
        if addresses not in self._seen and len(self._seen) < _MAX_GRAPHS:
            self._seen[addresses] = None
        if not self._context.execute_async_v3(self._stream):
            raise BackendError(f"{self.name} failed while running: {self._log.last()}")

    def _record(self) -> int | None:
        """The CUDA graph of a run; None where this engine cannot be recorded."""
        self.cuda.begin_capture(self._stream)
        queued = self._context.execute_async_v3(self._stream)
        try:
            graph = self.cuda.end_capture(self._stream)
        except CudaError:
            self._recordable = False
            return None
        if queued:
            return graph
        self._recordable = False
        self.cuda.close_graph(graph)
        return None

    def _fetch(self, outputs: Sequence[EngineArray]) -> list[Tensor]:
        """Copies to pinned memory, there once the stream gets that far."""
        results: list[Tensor] = []
        for spec, output in zip(self.entry.outputs, outputs):
            size = int(np.prod(output.shape)) * output.dtype.itemsize
            staging = self._pinned(spec.name, size)
            self.cuda.copy(staging, output.address, size, TO_HOST, self._stream)
            buffer: Any = (ctypes.c_char * size).from_address(staging)
            results.append(np.frombuffer(buffer, output.dtype).reshape(output.shape))
        return results

    def _pinned(self, name: str, size: int) -> int:
        """Pinned memory for a tensor, grown when it has to be."""
        capacity, address = self._staging.get(name, (0, 0))
        if capacity < size or not address:
            if address:
                del self._staging[name]
                self.cuda.free_pinned(address)
            address = self.cuda.allocate_pinned(max(1, size))
            self._staging[name] = (max(1, size), address)
        return address

    def _forget(self) -> None:
        """Recordings are of one set of shapes."""
        graphs, self._seen = [graph for graph in self._seen.values() if graph is not None], {}
        for graph in graphs:
            self.cuda.close_graph(graph)

    def close(self) -> None:
        """Release everything, once what is queued is done."""
        with contextlib.suppress(BackendError):
            self.cuda.wait(self._stream)
        self._forget()
        for _, address in self._staging.values():
            self.cuda.free_pinned(address)
        self._staging = {}
        self.cuda.close_stream(self._stream)
        self._context = self._engine = None
