"""Answers to inputs one after the other: lazy, in order, a batch in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from itertools import islice
from typing import Any, Literal

from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.tasks.several import Answer, Item, answered, attempt
from perceiver_runtime.tasks.task import Task

OnError = Literal["raise", "return"]
MapProgress = Callable[[int, "int | None"], None]  # inputs done, and of how many, None where that is not known


def in_batches(items: Iterable[Item], batch_size: int, answer: Callable[[list[Any]], Sequence[Any]]) -> Iterator[Answer]:
    """The answer to each item, in order; inputs are let go as soon as their batch is answered."""
    left = iter(items)
    while batch := list(islice(left, batch_size)):
        found = [Answer(Item(item.name, None), value) for item, value in answered(batch, answer)]
        batch.clear()
        yield from found


def map_inputs(
    pipeline: Any,
    task: Task,
    inputs: Iterable[Any],
    *,
    batch_size: int,
    on_error: OnError,
    progress: MapProgress | None,
    options: dict[str, Any],
) -> Iterator[Any]:
    """What `Pipeline.map` gives. Raises `UsageError` at once, `InputError` when an answer is asked for."""
    size = whole_number("batch_size", batch_size)
    if on_error not in ("raise", "return"):
        raise UsageError(f"on_error is {on_error!r}: give 'raise' or 'return'")
    if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise InputError(f"map takes a list, a generator or another iterable of inputs, found {type(inputs).__name__}")
    read = task.kind(pipeline.manifest).read
    items = (Item(f"inputs[{place}]", attempt(partial(read, value))) for place, value in enumerate(inputs))
    total = len(inputs) if isinstance(inputs, Sized) else None
    answers = in_batches(items, size, lambda batch: task.call_each(pipeline, batch, options))
    return _given(answers, on_error, progress or (lambda done, total: None), total)


def _given(answers: Iterator[Answer], on_error: OnError, progress: MapProgress, total: int | None) -> Iterator[Any]:
    progress(0, total)
    for done, (item, value) in enumerate(answers, start=1):
        if isinstance(value, InputError):
            value = InputError(f"{item.name}: {value}")
            if on_error == "raise":
                raise value
        progress(done, total)
        yield value
