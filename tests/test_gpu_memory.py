"""The pool of a GPU's memory: nothing is lost, used twice or waited for, whenever a garbage collection runs."""

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from perceiver_runtime import BackendError
from perceiver_runtime.backends.tensorrt.memory import Block, Pool

SECONDS = 60


class Memory:
    """A GPU with room for `room` bytes: what is allocated, by address."""

    def __init__(self, room: int) -> None:
        self.room, self.held, self._next, self._lock = room, {}, 0, threading.Lock()
        self.held: dict[int, int] = {}

    def allocate(self, size: int) -> int:
        with self._lock:
            if sum(self.held.values()) + size > self.room:
                raise BackendError("no room")
            self._next += 1 << 20
            self.held[self._next] = size
            return self._next

    def free(self, address: int) -> None:
        with self._lock:
            del self.held[address]


class Cycle:
    """A block that only a garbage collection lets go of."""

    def __init__(self, block: Block) -> None:
        self.block, self.me = block, self


@pytest.fixture
def collected_at_every_allocation() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collected_at_every_allocation")
def test_sixteen_threads_and_a_collection_at_every_allocation() -> None:
    memory: Any = Memory(1 << 30)
    pool, in_use, lock = Pool(memory), set(), threading.Lock()

    def work(number: int) -> None:
        for turn in range(60):
            block = pool.take(100 + 50 * ((number + turn) % 3))
            with lock:
                assert block.address not in in_use
                in_use.add(block.address)
            with lock:
                in_use.remove(block.address)
            Cycle(block)

    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(work, number) for number in range(16)]:
            done.result(timeout=SECONDS)
    gc.collect()
    pool.close()
    assert memory.held == {}


def test_a_collection_while_the_lock_is_held() -> None:
    """What a destructor hands over then is put away by whoever has the lock."""
    memory: Any = Memory(1000)
    pool = Pool(memory)
    block = pool.take(100)
    address = block.address
    thread = threading.Thread(target=lambda: pool.take(50), daemon=True)
    with pool._lock:
        del block  # would wait for ever if it wanted the lock
        assert list(pool._returned) == [(100, address)]
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert pool.take(100).address == address


def test_after_close_what_comes_back_is_freed() -> None:
    memory: Any = Memory(1000)
    pool = Pool(memory)
    kept, other = pool.take(10), pool.take(20)
    del other
    pool.close()
    assert list(memory.held) == [kept.address]
    del kept
    assert memory.held == {}


def test_room_is_made_of_what_is_free() -> None:
    memory: Any = Memory(1000)
    pool = Pool(memory)
    del (block := [pool.take(900)])[:]
    assert block == []
    assert pool.take(300).size == 300
    held = pool.take(600)
    with pytest.raises(BackendError):
        pool.take(900)
    assert held.size == 600
