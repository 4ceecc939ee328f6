"""An execution context: fixed buffers on the GPU, a stream of its own, pinned staging, and the recorded CUDA graph.

What a run is given is copied into the context's buffers, and results are copied out of them, so the engine sees the same
addresses every time. TensorRT says that a recorded graph is of one set of shapes and addresses, and that its context must not
be changed afterwards: so a context has one recording, made in the second run with the same shapes and replayed from then on.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from perceiver_runtime.backends.cuda import TO_DEVICE, TO_HOST, CudaError
from perceiver_runtime.backends.tensorrt.log import translated
from perceiver_runtime.backends.tensorrt.memory import Block, EngineArray, GatheredRows, Pool
from perceiver_runtime.backends.tensorrt.releases import nothing_released
from perceiver_runtime.bundle.manifest import GraphEntry, TensorSpec
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import BackendError

ON_DEVICE = 3  # cudaMemcpyDeviceToDevice
Shapes = Mapping[str, tuple[int, ...]]


class Context:
    """One thread at a time runs it."""

    def __init__(self, engine: Any, context: Any, entry: GraphEntry, name: str, pool: Pool, log: Any) -> None:
        self._engine, self._context = engine, context  # the engine outlives its context
        self.entry, self.name, self._cuda, self._pool, self._log = entry, name, pool.cuda, pool, log
        self.shapes: Shapes = {}
        self._profile = 0
        self._stream = pool.cuda.new_stream()
        self._staging: dict[str, tuple[int, int]] = {}  # name: bytes, address in pinned memory
        self._buffers: dict[str, Block] = {}
        self._outputs: dict[str, tuple[int, ...]] = {}  # name: shape
        self._held: dict[str, weakref.ref[EngineArray]] = {}  # inputs whose values are in their buffers already
        self._ran = False  # with these shapes
        self._recording: int | None = None
        self._recordable = True

    def run(self, inputs: Mapping[str, Tensor], profile: int, *, keep: bool) -> list[Tensor]:
        """The outputs in order, with `keep` on the GPU. Raises `BackendError`, after which the context is of no use."""
        shapes = {spec.name: tuple(inputs[spec.name].shape) for spec in self.entry.inputs}
        if shapes != self.shapes:
            with translated(f"{self.name} cannot be prepared for these shapes", self._log):
                self._prepare(shapes, profile)
        for spec in self.entry.inputs:
            self._put(spec, inputs[spec.name])
        with translated(f"{self.name} failed while running", self._log):
            self._execute()
        results = [(self._keep if keep else self._fetch)(spec) for spec in self.entry.outputs]
        self._cuda.wait(self._stream)
        return [result.copy() if isinstance(result, np.ndarray) else result for result in results]

    def _prepare(self, shapes: Shapes, profile: int) -> None:
        """Make room for other shapes; the recording is of the old ones."""
        context = self._context
        self._forget()
        if profile != self._profile and not context.set_optimization_profile_async(profile, self._stream):
            raise self._failed(f"TensorRT refuses its optimization profile {profile}")
        self._profile = profile
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._failed(f"TensorRT refuses the shape {shape} of {name}")
        unknown = context.infer_shapes()
        if unknown:
            raise self._failed(f"TensorRT cannot tell the shapes of {', '.join(unknown)}")
        self._outputs = {
            spec.name: tuple(int(size) for size in context.get_tensor_shape(spec.name)) for spec in self.entry.outputs
        }
        for spec in (*self.entry.inputs, *self.entry.outputs):
            size = math.prod({**shapes, **self._outputs}[spec.name]) * np.dtype(spec.dtype).itemsize
            if spec.name not in self._buffers or self._buffers[spec.name].size < size:
                self._buffers.pop(spec.name, None)
                self._buffers[spec.name] = self._pool.take(size)
            if not context.set_tensor_address(spec.name, self._buffers[spec.name].address):
                raise self._failed(f"TensorRT refuses the address of {spec.name}")
        self.shapes = shapes

    def _put(self, spec: TensorSpec, value: Tensor) -> None:
        """Into its buffer: from the host by way of pinned memory, on the GPU row by row where rows were chosen."""
        target, dtype, held = self._buffers[spec.name].address, np.dtype(spec.dtype), self._held.pop(spec.name, None)
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value, dtype)
            staging = self._pinned(spec.name, array.nbytes)
            ctypes.memmove(staging, array.ctypes.data, array.nbytes)
            self._cuda.copy(target, staging, array.nbytes, TO_DEVICE, self._stream)
            return
        if not isinstance(value, (EngineArray, GatheredRows)) or value.dtype != dtype:
            raise BackendError(f"{self.name}: {spec.name} lives on another backend's GPU memory, or is not {dtype}")
        if held is None or held() is not value:  # arrays on the GPU are written once
            for source, size in value.copies():
                self._cuda.copy(target, source, size, ON_DEVICE, self._stream)
                target += size
        if isinstance(value, EngineArray):
            self._held[spec.name] = weakref.ref(value)

    def _execute(self) -> None:
        """Queue the work: directly the first time, the second time recording it, launched as recorded from then on."""
        if self._recording is None and self._ran and self._recordable:
            self._recording = self._record()
        if self._recording is not None:
            self._cuda.launch(self._recording, self._stream)
        elif not self._context.execute_async_v3(self._stream):
            raise BackendError(f"{self.name} failed while running: {self._log.last()}")
        self._ran = True

    def _record(self) -> int | None:
        """The CUDA graph of a run; None where this engine cannot be recorded."""
        graph, queued = None, False
        with nothing_released():
            self._cuda.begin_capture(self._stream)
            try:
                queued = self._context.execute_async_v3(self._stream)
            finally:
                with contextlib.suppress(CudaError):
                    graph = self._cuda.end_capture(self._stream)
                if graph is not None and not queued:
                    self._cuda.close_graph(graph)
        self._recordable = queued and graph is not None
        return graph if queued else None

    def _keep(self, spec: TensorSpec) -> Tensor:
        shape, dtype = self._outputs[spec.name], np.dtype(spec.dtype)
        size = math.prod(shape) * dtype.itemsize
        kept = EngineArray(self._pool.take(size), shape, dtype)
        self._cuda.copy(kept.address, self._buffers[spec.name].address, size, ON_DEVICE, self._stream)
        return kept

    def _fetch(self, spec: TensorSpec) -> Tensor:
        """A view of pinned memory, whose values are there once the stream gets that far."""
        shape, dtype = self._outputs[spec.name], np.dtype(spec.dtype)
        size = math.prod(shape) * dtype.itemsize
        staging = self._pinned(spec.name, size)
        self._cuda.copy(staging, self._buffers[spec.name].address, size, TO_HOST, self._stream)
        buffer: Any = (ctypes.c_char * size).from_address(staging)
        return np.frombuffer(buffer, dtype).reshape(shape)

    def _pinned(self, name: str, size: int) -> int:
        """Pinned memory for a tensor, grown when it has to be."""
        capacity, address = self._staging.get(name, (0, 0))
        if capacity < size or not address:
            if address:
                del self._staging[name]
                self._cuda.free_pinned(address)
            address = self._cuda.allocate_pinned(max(1, size))
            self._staging[name] = (max(1, size), address)
        return address

    def _failed(self, what: str) -> BackendError:
        return BackendError(f"{self.name}: {what} ({self._log.last()})")

    def _forget(self) -> None:
        """Shapes, what was recorded of them, and what the buffers hold."""
        recording, self._recording, self._ran = self._recording, None, False
        self.shapes = {}
        self._held.clear()
        if recording is not None:
            self._cuda.close_graph(recording)

    def close(self) -> None:
        """Release everything, once what is queued is done; what cannot be released does not keep the rest."""
        pinned, self._staging = self._staging, {}
        steps: list[Callable[[], object]] = [partial(self._cuda.wait, self._stream), self._forget]
        steps += [partial(self._cuda.free_pinned, address) for _, address in pinned.values()]
        steps.append(partial(self._cuda.close_stream, self._stream))
        for step in steps:
            with contextlib.suppress(BackendError):
                step()
        self._buffers.clear()
        self._context = self._engine = None
