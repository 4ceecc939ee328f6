"""The newest of items that come by themselves, for who is slower than they come."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Iterator[T], Generic[T]):
    """Reads items in a thread; each `next` waits for the newest that was not given yet. What it passes over is `dropped`.

    `read` is given + dropped + at most one that waits. An error of the items is raised after what came before it. `close` ends
    the thread once the item that it waits for has come.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self.read = self.dropped = 0
        self._waiting: list[T] = []
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._go, args=(iter(items),), daemon=True, name="newest-frame").start()

    def __next__(self) -> T:
        with self._changed:
            while not (self._waiting or self._ended or self._closed):
                self._changed.wait(0.2)  # not for ever: so that Ctrl-C is seen
            if self._waiting:
                return self._waiting.pop()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration

    def close(self) -> None:
        """No more items."""
        with self._changed:
            self._closed = True
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()

    def _go(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                with self._changed:
                    if self._closed:
                        return
                    self.read += 1
                    self.dropped += len(self._waiting)
                    self._waiting[:] = [item]
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()
