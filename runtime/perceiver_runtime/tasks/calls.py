"""One call of a pipeline, as one thing: on a server one timeout is for all runs of its graphs, its parts go side by side."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
R = TypeVar("R")


def whole_call(method: F) -> F:
    """A method of a pipeline whose runs of graphs are one call; within another such method they are that one's."""

    @functools.wraps(method)
    def run(self: Any, *arguments: Any, **options: Any) -> Any:
        with self.call():
            return method(self, *arguments, **options)

    return cast("F", run)


def side_by_side(work: Callable[[T], R], items: Sequence[T], most: int) -> Iterator[R]:
    """`work(item)` of each item, in order, `most` of them at a time. After an error nothing more is begun."""
    if most < 2 or len(items) < 2:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(min(most, len(items)), thread_name_prefix="perceiver")
    try:
        futures = [pool.submit(contextvars.copy_context().run, work, item) for item in items]
        left = set(futures)
        for future in futures:
            while not future.done():
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()  # an error ends it, whichever item's it is
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
