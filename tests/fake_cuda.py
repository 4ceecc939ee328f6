"""A GPU's memory, streams and recordings, and a stand-in for libcudart over them: what `fake_gpu` computes on."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from perceiver_runtime.backends.cuda import _SIGNATURES, Cuda

OUT_OF_MEMORY, CAPTURE_FAILED = 2, 900
WHILE_NOT_RECORDING = {"cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost", "cudaStreamSynchronize"}


class Device:
    """What happens on a machine's GPUs, in order, and what they hold."""

    def __init__(self, memory: int = 1 << 30, gpus: int = 1) -> None:
        self.memory, self.gpus = memory, gpus
        self.where: dict[int, int] = {}  # a stream's or block's GPU
        self._current = threading.local()  # of a thread: its GPU
        self.calls: list[str] = []
        self.on_call: Callable[[str], None] = lambda name: None
        self.copied: Counter[int] = Counter()  # cudaMemcpyKind: bytes
        self.blocks: dict[int, Any] = {}  # address: its bytes
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.recording: set[int] = set()  # threads
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.contexts: weakref.WeakSet[Any] = weakref.WeakSet()
        self.capturable = self.instantiable = True
        self._next = 1 << 40

    def handle(self) -> int:
        self._next += 1
        return self._next

    @property
    def current(self) -> int:
        return int(getattr(self._current, "gpu", 0))

    @current.setter
    def current(self, gpu: int) -> None:
        self._current.gpu = gpu

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        assert self.where[stream] == self.current, "a stream of another GPU than the thread's"
        (self.capturing[stream] if stream in self.capturing else self.streams[stream]).append(work)

    @property
    def used(self) -> int:
        return sum(len(block) for block in list(self.blocks.values()))

    @property
    def held(self) -> dict[str, int]:
        """What is not released yet."""
        return {name: len(getattr(self, name)) for name in ("blocks", "pinned", "streams", "graphs", "contexts")}


class FakeCudart:
    """libcudart's functions over a `Device`; `Cuda` gives each its types, as it does ctypes' functions."""

    def __init__(self, device: Device) -> None:
        self.device = device
        for name in (*_SIGNATURES, "cudaGetErrorName", "cudaGetErrorString"):
            setattr(self, name, self._function(name))

    def _function(self, name: str) -> Any:
        implementation = getattr(self, f"_{name}")

        def call(*arguments: Any) -> Any:
            if not name.startswith("cudaGet"):
                self.device.calls.append(name)
                self.device.on_call(name)
            if name in WHILE_NOT_RECORDING and threading.get_ident() in self.device.recording:
                self.device.capturable = False  # as the real one does, which spoils what is recorded
                return CAPTURE_FAILED
            return implementation(*arguments)

        return call

    def _put(self, pointer: Any, value: int) -> int:
        pointer._obj.value = value
        return 0

    def _cudaGetErrorName(self, code: int) -> bytes:
        return {OUT_OF_MEMORY: b"cudaErrorMemoryAllocation", CAPTURE_FAILED: b"cudaErrorStreamCaptureUnsupported"}[code]

    def _cudaGetErrorString(self, code: int) -> bytes:
        return {OUT_OF_MEMORY: b"out of memory", CAPTURE_FAILED: b"operation not permitted when stream is capturing"}[code]

    def _cudaRuntimeGetVersion(self, version: Any) -> int:
        return self._put(version, 12060)

    _cudaDriverGetVersion = _cudaRuntimeGetVersion

    def _cudaGetDeviceCount(self, count: Any) -> int:
        return self._put(count, self.device.gpus)

    def _cudaSetDevice(self, number: int) -> int:
        assert 0 <= number < self.device.gpus
        self.device.current = number
        return 0

    def _cudaDeviceGetAttribute(self, value: Any, kind: int, device: int) -> int:
        assert 0 <= device < self.device.gpus
        return self._put(value, {75: 8, 76: 7}[kind])

    def _cudaMemGetInfo(self, free: Any, total: Any) -> int:
        return self._put(free, self.device.memory - self.device.used) or self._put(total, self.device.memory)

    def _cudaMalloc(self, pointer: Any, size: int) -> int:
        if self.device.used + size > self.device.memory:
            return OUT_OF_MEMORY
        block = (ctypes.c_char * size)()
        ctypes.memset(block, 0xFF, size)  # what is not written is NaN
        self.device.blocks[ctypes.addressof(block)] = block
        self.device.where[ctypes.addressof(block)] = self.device.current
        return self._put(pointer, ctypes.addressof(block))

    def _cudaFree(self, address: int) -> int:
        del self.device.blocks[address]
        return 0

    def _cudaHostAlloc(self, pointer: Any, size: int, flags: int) -> int:
        block = (ctypes.c_char * size)()
        self.device.pinned[ctypes.addressof(block)] = block
        return self._put(pointer, ctypes.addressof(block))

    def _cudaFreeHost(self, address: int) -> int:
        del self.device.pinned[address]
        return 0

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, direction: int, stream: int) -> int:
        assert direction in (1, 2, 3)
        self.device.copied[direction] += size
        self.device.queue(stream, lambda: ctypes.memmove(target, source, size) and None)
        return 0

    def _cudaStreamCreateWithFlags(self, stream: Any, flags: int) -> int:
        handle = self.device.handle()
        self.device.streams[handle] = []
        self.device.where[handle] = self.device.current
        return self._put(stream, handle)

    def _cudaStreamSynchronize(self, stream: int) -> int:
        waiting, self.device.streams[stream] = self.device.streams[stream], []
        for work in waiting:
            work()
        return 0

    def _cudaStreamDestroy(self, stream: int) -> int:
        assert not self.device.streams.pop(stream), "destroyed with work on it"
        return 0

    def _cudaStreamBeginCapture(self, stream: int, mode: int) -> int:
        self.device.capturing[stream] = []
        self.device.recording.add(threading.get_ident())
        return 0

    def _cudaStreamEndCapture(self, stream: int, graph: Any) -> int:
        recorded = self.device.capturing.pop(stream)
        self.device.recording.remove(threading.get_ident())
        if not self.device.capturable:
            return CAPTURE_FAILED
        handle = self.device.handle()
        self.device.graphs[handle] = recorded
        return self._put(graph, handle)

    def _cudaGraphInstantiateWithFlags(self, executable: Any, graph: int, flags: int) -> int:
        if not self.device.instantiable:
            return OUT_OF_MEMORY
        handle = self.device.handle()
        self.device.graphs[handle] = self.device.graphs[graph]
        return self._put(executable, handle)

    def _cudaGraphLaunch(self, executable: int, stream: int) -> int:
        for work in self.device.graphs[executable]:
            self.device.queue(stream, work)
        return 0

    def _cudaGraphExecDestroy(self, executable: int) -> int:
        del self.device.graphs[executable]
        return 0

    _cudaGraphDestroy = _cudaGraphExecDestroy

    def _cudaGetLastError(self) -> int:
        return 0


def fake_cuda(device: Device) -> Cuda:
    return Cuda(FakeCudart(device), "libcudart-fake.so")
