"""As much of CUDA as running an engine takes, with ctypes over libcudart: memory, copies, streams, graphs, the device's name.

The library is the one already loaded (TensorRT's or torch's), one of NVIDIA's wheels, or the system's. GPUs are numbered from 0
among those that CUDA_VISIBLE_DEVICES shows. Every call's return code is checked.
"""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from collections import Counter
from collections.abc import Iterator
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from perceiver_runtime.common.errors import BackendError

_POINTER, _SIZE, _INT, _UNSIGNED = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint
_SIGNATURES: dict[str, list[Any]] = {
    "cudaRuntimeGetVersion": [ctypes.POINTER(_INT)],
    "cudaDriverGetVersion": [ctypes.POINTER(_INT)],
    "cudaGetDeviceCount": [ctypes.POINTER(_INT)],
    "cudaSetDevice": [_INT],
    "cudaDeviceGetAttribute": [ctypes.POINTER(_INT), _INT, _INT],
    "cudaMemGetInfo": [ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)],
    "cudaMalloc": [ctypes.POINTER(_POINTER), _SIZE],
    "cudaFree": [_POINTER],
    "cudaHostAlloc": [ctypes.POINTER(_POINTER), _SIZE, _UNSIGNED],
    "cudaFreeHost": [_POINTER],
    "cudaMemcpyAsync": [_POINTER, _POINTER, _SIZE, _INT, _POINTER],
    "cudaStreamCreateWithFlags": [ctypes.POINTER(_POINTER), _UNSIGNED],
    "cudaStreamSynchronize": [_POINTER],
    "cudaStreamDestroy": [_POINTER],
    "cudaStreamBeginCapture": [_POINTER, _INT],
    "cudaStreamEndCapture": [_POINTER, ctypes.POINTER(_POINTER)],
    "cudaGraphInstantiateWithFlags": [ctypes.POINTER(_POINTER), _POINTER, ctypes.c_ulonglong],
    "cudaGraphLaunch": [_POINTER, _POINTER],
    "cudaGraphExecDestroy": [_POINTER],
    "cudaGraphDestroy": [_POINTER],
    "cudaGetLastError": [],
}
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
_NON_BLOCKING = 1  # a stream that does not wait for the default one
_CAPTURE_THREAD_LOCAL = 1
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapability…


class CudaError(BackendError):
    """A CUDA call failed; `code` is CUDA's own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Cuda:
    """libcudart, for one GPU. Threads may share it."""

    def __init__(self, library: Any, path: str) -> None:
        self._library, self.path, self.gpu = library, path, 0
        self.counts: Counter[str] = Counter()  # of all GPUs: CUDA graphs recorded and replayed, bytes copied
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = _INT, arguments
        for name in ("cudaGetErrorName", "cudaGetErrorString"):
            function = getattr(library, name)
            function.restype, function.argtypes = ctypes.c_char_p, [_INT]
        try:
            self.count = int(self._get(_INT, "cudaGetDeviceCount"))
        except CudaError as error:
            raise BackendError(f"CUDA finds no usable GPU ({error}): check the driver with nvidia-smi") from error
        if self.count < 1:
            raise BackendError("CUDA finds no GPU: check nvidia-smi, and CUDA_VISIBLE_DEVICES")

    def on(self, gpu: int) -> Cuda:
        """The same library for another GPU. Raises `BackendError` where there is none of that number."""
        if not 0 <= gpu < self.count:
            raise BackendError(f"there is no GPU {gpu} here: CUDA finds {self.count}, numbered from 0 (CUDA_VISIBLE_DEVICES)")
        if gpu == self.gpu:
            return self
        other = copy(self)
        other.gpu = gpu
        return other

    @property
    def version(self) -> str:
        """CUDA's version, such as 12.6."""
        return _version(self._get(_INT, "cudaRuntimeGetVersion"))

    @property
    def driver_version(self) -> str:
        """The newest CUDA that the driver supports."""
        return _version(self._get(_INT, "cudaDriverGetVersion"))

    @property
    def compute_capability(self) -> str:
        """The GPU's, such as 8.7."""
        return ".".join(str(self._get(_INT, "cudaDeviceGetAttribute", kind, self.gpu)) for kind in (_MAJOR, _MINOR))

    def memory(self) -> tuple[int, int]:
        """Bytes free and bytes in all."""
        self.use()
        free, total = _SIZE(), _SIZE()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def use(self) -> None:
        """Make this GPU the calling thread's."""
        self._call("cudaSetDevice", self.gpu)

    def allocate(self, size: int) -> int:
        """`size` bytes on the GPU. Raises `BackendError` that says how many are free."""
        self.use()
        try:
            return int(self._get(_POINTER, "cudaMalloc", size))
        except CudaError as error:
            self._library.cudaGetLastError()  # forget it: later calls would repeat it
            free, total = self.memory()
            raise BackendError(
                f"no {size / 1e6:.0f} MB on the GPU, {free / 1e6:.0f} of {total / 1e6:.0f} MB are free: decode fewer queries "
                f"at once (query_chunk), use smaller batches, or end other programs ({error})"
            ) from error

    def free(self, pointer: int) -> None:
        """Give back what `allocate` gave."""
        self._call("cudaFree", pointer)

    def allocate_pinned(self, size: int) -> int:
        """`size` bytes of the host's memory that copies run from at full speed."""
        return int(self._get(_POINTER, "cudaHostAlloc", size, 0))

    def free_pinned(self, pointer: int) -> None:
        """Give back what `allocate_pinned` gave."""
        self._call("cudaFreeHost", pointer)

    def copy(self, target: int, source: int, size: int, direction: int, stream: int) -> None:
        """Copy `size` bytes once the stream gets there."""
        self.counts["bytes copied"] += size
        self._call("cudaMemcpyAsync", target, source, size, direction, stream)

    def new_stream(self) -> int:
        """A stream of its own, on this GPU."""
        self.use()
        return int(self._get(_POINTER, "cudaStreamCreateWithFlags", _NON_BLOCKING))

    def wait(self, stream: int) -> None:
        """Until all that was put on a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def close_stream(self, stream: int) -> None:
        """Destroy it."""
        self._call("cudaStreamDestroy", stream)

    def begin_capture(self, stream: int) -> None:
        """Record what is put on a stream, in place of doing it."""
        self._call("cudaStreamBeginCapture", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """What was recorded, to be launched again and again. Raises `CudaError` if it cannot be."""
        try:
            captured = _POINTER()
            self._call("cudaStreamEndCapture", stream, ctypes.byref(captured))
            graph = captured.value
            try:
                executable = int(self._get(_POINTER, "cudaGraphInstantiateWithFlags", graph, 0))
            finally:
                self._call("cudaGraphDestroy", graph)
            self.counts["recorded"] += 1
        except CudaError:
            self._library.cudaGetLastError()
            raise
        return executable

    def launch(self, executable: int, stream: int) -> None:
        """Do what was recorded."""
        self.counts["replayed"] += 1
        self._call("cudaGraphLaunch", executable, stream)

    def close_graph(self, executable: int) -> None:
        """Destroy it."""
        self._call("cudaGraphExecDestroy", executable)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            kind, text = self._library.cudaGetErrorName(code).decode(), self._library.cudaGetErrorString(code).decode()
            raise CudaError(f"{name} failed: {kind}, {text}", code)

    def _get(self, kind: Any, name: str, *arguments: Any) -> Any:
        value = kind()
        self._call(name, ctypes.byref(value), *arguments)
        return value.value


@cache
def cuda() -> Cuda:
    """The machine's. Raises `BackendError` where there is none."""
    tried = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path}: {error}")
            continue
        return Cuda(library, path)
    raise BackendError(f"CUDA's runtime library is not here: install CUDA, or JetPack on a Jetson (tried {'; '.join(tried)})")


def check_gpu(gpu: int) -> None:
    """Raise `BackendError` where there is no GPU of this number; where CUDA is not found, whoever needs it will say so."""
    try:
        found = cuda()
    except BackendError:
        return
    found.on(gpu)


def gpu_name(gpu: int = 0) -> str:
    """What the driver calls a GPU; empty where it does not say."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        device, text = _INT(), ctypes.create_string_buffer(256)
        steps = (driver.cuInit(0), driver.cuDeviceGet(ctypes.byref(device), gpu), driver.cuDeviceGetName(text, 256, device))
    except (OSError, AttributeError):
        return ""
    return "" if any(steps) else text.value.decode(errors="replace")


def _candidates() -> Iterator[str]:
    try:  # the one that TensorRT or torch has loaded
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        yield from sorted({line.split()[-1] for line in maps.splitlines() if "libcudart" in line})
    except OSError:
        pass
    for folder in filter(None, sys.path):  # an empty one is the current folder, whose libraries are nobody's
        for place in ("cu1[0-9]", "cuda_runtime"):
            yield from sorted(glob.glob(os.path.join(folder, "nvidia", place, "lib", "libcudart.so.1[0-9]*")), reverse=True)
    yield from ("libcudart.so.13", "libcudart.so.12", "libcudart.so")
    yield from sorted(glob.glob("/usr/local/cuda*/lib64/libcudart.so.1*"), reverse=True)


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
