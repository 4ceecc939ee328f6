"""A GPU's memory, in blocks that are used again: a pool, and arrays that live in it."""

from __future__ import annotations

import math
import threading
from collections import deque

import numpy as np

from perceiver_runtime.backends.cuda import TO_HOST, Cuda
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import BackendError

_PATIENCE = 64  # blocks taken before one that fitted none of them is freed


class Pool:
    """Blocks of a GPU's memory, grown on demand. Threads may share it.

    The smallest free block that is large enough is used again, so that the same call gets the same addresses, which
    replaying a CUDA graph needs.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self._free: dict[tuple[int, int], int] = {}  # size and address: how many were taken when it was given back
        self._returned: deque[tuple[int, int]] = deque()  # by destructors, which may run while this thread holds the lock
        self._taken = 0
        self._closed = False
        self._lock = threading.Lock()

    def take(self, size: int) -> Block:
        """A block of at least `size` bytes. Raises `BackendError` where the GPU has no room."""
        wanted = max(1, size)
        with self._lock:
            self._sort_in()
            self._taken += 1
            best = min((each for each in self._free if wanted <= each[0] <= 2 * wanted), default=None)
            if best is not None:
                del self._free[best]
        self._settle()
        if best is not None:
            return Block(self, *best)
        self._release(older_than=self._taken - _PATIENCE)
        try:
            return Block(self, wanted, self.cuda.allocate(wanted))
        except BackendError:
            self._release(older_than=self._taken + 1)
        return Block(self, wanted, self.cuda.allocate(wanted))

    def hand_over(self, size: int, address: int) -> None:
        """A block that nobody uses any more. Never waits, for a garbage collection calls it wherever it likes."""
        self._returned.append((size, address))
        self._settle()

    def close(self) -> None:
        """Free what is not in use; the rest follows when it is handed over."""
        with self._lock:
            self._closed = True
        self._release(older_than=self._taken + 1)

    def _settle(self) -> None:
        """Put away what was handed over; a thread that has the lock does it in this one's place."""
        while self._returned and self._lock.acquire(blocking=False):
            try:
                self._sort_in()
                old = list(self._free) if self._closed else []
                for each in old:
                    del self._free[each]
            finally:
                self._lock.release()
            for _, address in old:
                self.cuda.free(address)

    def _sort_in(self) -> None:
        """With the lock."""
        while self._returned:
            self._free[self._returned.popleft()] = self._taken

    def _release(self, *, older_than: int) -> None:
        with self._lock:
            self._sort_in()
            old = [each for each, taken in self._free.items() if taken < older_than]
            for each in old:
                del self._free[each]
        self._settle()
        for _, address in old:
            self.cuda.free(address)


class Block:
    """Some bytes of a GPU's memory, back in the pool when nothing holds the block any more."""

    def __init__(self, pool: Pool, size: int, address: int) -> None:
        self.pool, self.size, self.address = pool, size, address

    def __del__(self) -> None:
        self.pool.hand_over(self.size, self.address)


class EngineArray:
    """An array in a block: a `DeviceArray`."""

    def __init__(self, block: Block, shape: tuple[int, ...], dtype: np.dtype[np.generic], offset: int = 0) -> None:
        self.block, self.shape, self.dtype, self.offset = block, shape, dtype, offset

    @property
    def address(self) -> int:
        """Of the first value."""
        return self.block.address + self.offset

    def rows(self, start: int, stop: int) -> EngineArray:
        """`[:, start:stop]` of a batch of one."""
        if self.shape[0] != 1 or not 0 <= start <= stop <= self.shape[1]:
            raise ValueError(f"rows {start} to {stop} of an array of shape {self.shape}")
        row = math.prod(self.shape[2:]) * self.dtype.itemsize
        shape = (1, stop - start, *self.shape[2:])
        return EngineArray(self.block, shape, self.dtype, self.offset + start * row)

    def numpy(self) -> Array:
        """A copy in the host's memory."""
        cuda = self.block.pool.cuda
        result = np.empty(self.shape, self.dtype)
        stream = cuda.new_stream()
        try:
            cuda.copy(result.ctypes.data, self.address, result.nbytes, TO_HOST, stream)
            cuda.wait(stream)
        finally:
            cuda.close_stream(stream)
        return result
