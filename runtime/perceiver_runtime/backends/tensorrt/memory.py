"""A GPU's memory, in blocks that are used again: a pool, arrays that live in it, and rows of these."""

from __future__ import annotations

import math
import threading
from collections import deque
from functools import partial

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.cuda import TO_HOST, Cuda
from perceiver_runtime.backends.tensorrt.releases import hand_over
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import BackendError

_PATIENCE = 64  # blocks taken before one that fitted none of them is freed
_MOST_COPIES = 1024  # of single rows, some microseconds each; for more, the whole array goes to the host and back


class Pool:
    """Blocks of a GPU's memory, grown on demand. Threads may share it.

    The smallest free block that is large enough, and not more than twice as large, is used again.
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
        """Free what is not in use; the rest follows when it is handed over. Never waits."""
        self._closed = True
        self._settle()

    def _settle(self) -> None:
        """Put away what was handed over; a thread that has the lock does it in this one's place."""
        while (self._returned or (self._closed and self._free)) and self._lock.acquire(blocking=False):
            try:
                self._sort_in()
                old = list(self._free) if self._closed else []
                for each in old:
                    del self._free[each]
            finally:
                self._lock.release()
            for _, address in old:
                hand_over(partial(self.cuda.free, address))

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

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """`[:, rows]` of a batch of one: copied on the GPU, when a graph takes them."""
        if self.shape[0] != 1 or rows.min() < 0 or rows.max() >= self.shape[1]:
            raise ValueError(f"rows {rows.min()} to {rows.max()} of an array of shape {self.shape}")
        found = GatheredRows(self, rows)
        return found if len(found.copies()) <= _MOST_COPIES else self.numpy()[:, rows]

    def copies(self) -> list[tuple[int, int]]:
        """Where it is: address and bytes of each part."""
        return [(self.address, math.prod(self.shape) * self.dtype.itemsize)]

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


class GatheredRows:
    """Rows of an array in a block, not copied yet: a `DeviceArray`."""

    def __init__(self, source: EngineArray, index: NDArray[np.int64]) -> None:
        self.source, self.index, self.dtype = source, index, source.dtype
        self.shape = (1, len(index), *source.shape[2:])

    def rows(self, start: int, stop: int) -> GatheredRows:
        """`[:, start:stop]`."""
        return GatheredRows(self.source, self.index[start:stop])

    def copies(self) -> list[tuple[int, int]]:
        """Where they are: address and bytes of each run of consecutive rows."""
        row = math.prod(self.shape[2:]) * self.dtype.itemsize
        ends = [*(np.flatnonzero(np.diff(self.index) != 1) + 1).tolist(), len(self.index)]
        first = self.source.address
        return [(first + int(self.index[start]) * row, (end - start) * row) for start, end in zip([0, *ends], ends)]

    def numpy(self) -> Array:
        """A copy in the host's memory."""
        found: Array = self.source.numpy()[:, self.index]
        return found
