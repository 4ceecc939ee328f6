"""The actors of a job: each with the bundle loaded, given as many rows at once as take a moment, replaced where it dies.

A row that kills its actor (a crash in a library, memory that ends) is found: the rows of the call that was running are tried
again one by one, and one whose actor has died `TRIES` times is given up, with an error that says so. Calls that waited behind
it are only done again. Rows are handed out by the program that runs the job, so that nothing is needed of the cluster but the
actors' own CPUs.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perceiver_runtime.common.errors import BackendError, PerceiverError, UsageError
from perceiver_runtime.common.terminal import one_line, write_lines
from perceiver_runtime.ray.pace import Pace
from perceiver_runtime.ray.rows import ERROR, BundleRows

TRIES = 3
_SECONDS = 0.5  # that a call takes
_MOST = 512  # rows of a call
_BYTES = 1 << 25  # of the rows of a call
_IN_FLIGHT = 2  # calls of an actor: one that runs, one that waits
_PATIENCE = 60.0  # seconds without an actor, until that is said

Row = dict[str, Any]


@dataclass
class Task:
    """A row as the table has it, as the actor gets it, and how often its actor has died."""

    source: Row
    row: Row
    died: int = 0


class Actor:
    """What runs in an actor's process."""

    def open(self, bundle: str, options: dict[str, Any]) -> tuple[type[PerceiverError], str] | None:
        """Load the bundle, or say why not."""
        try:
            self._rows = BundleRows(bundle, **options)
        except PerceiverError as error:
            return type(error), str(error)
        return None

    def answer(self, batch: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The columns that are added, and the seconds that took."""
        start = time.perf_counter()
        found = self._rows(batch)
        return {name: found[name] for name in (*self._rows.added, ERROR)}, time.perf_counter() - start


@dataclass
class _Member:
    """An actor, and its calls in the order in which it runs them; None is the first, `open`."""

    handle: Any
    calls: dict[Any, list[Task] | None] = field(default_factory=dict)
    ready: bool = False


class Crew:
    """`size` actors of a Ray that is connected, each a `BundleRows` with `options`."""

    def __init__(self, ray: Any, bundle: str, options: dict[str, Any], *, size: int) -> None:
        """Raises `UsageError` where the cluster is too small."""
        parallel, batch = options["parallel"], options["batch"]
        cpus = options["threads"] * parallel
        self._ray, self._open, self._cpus, self._size = ray, (bundle, options), cpus, size
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        room = sum(int(own // cpus) for own in nodes)
        if room < size:
            found = f"there is room for {room} actors of {cpus} CPUs on {len(nodes)} nodes, the job asks for {size}"
            raise UsageError(f"{found}, {size * cpus} CPUs: give --actors {max(1, room)}, fewer --threads, or add nodes")
        self._pace = Pace(_SECONDS, _MOST * parallel, least=parallel)  # each run of an actor gets a row at least
        self._fixed = None if batch is None else batch * parallel
        self._members: list[_Member] = []
        self._again: deque[list[Task]] = deque()
        self._failed_starts = 0

    def answers(self, tasks: Iterator[Task]) -> Iterator[tuple[list[Task], dict[str, Any]]]:
        """Rows with the columns that are added, as they are done. Raises where actors cannot load the bundle."""
        ray, waiting_since = self._ray, time.monotonic()
        while True:
            self._hire()
            for member in self._members:
                while member.ready and self._takes_another(member) and (batch := self._next(tasks)):
                    member.calls[member.handle.answer.remote(_columns(batch))] = batch
            calls = [call for member in self._members for call in member.calls]
            if not any(batch is not None for member in self._members for batch in member.calls.values()):
                first = self._next(tasks)
                if not first:
                    return
                self._again.appendleft(first)
            done, _ = ray.wait(calls, timeout=_PATIENCE)
            if any(member.ready for member in self._members):
                waiting_since = time.monotonic()
            elif time.monotonic() - waiting_since >= _PATIENCE:
                self._say_waiting()
                waiting_since = time.monotonic()
            for call in done:
                for member in [each for each in self._members if call in each.calls]:  # none: its actor has just died
                    yield from self._finish(member, call)

    def _hire(self) -> None:
        while len(self._members) < self._size:
            kind = self._ray.remote(Actor).options(num_cpus=self._cpus, max_restarts=0, scheduling_strategy="SPREAD")
            member = _Member(kind.remote())
            member.calls[member.handle.open.remote(*self._open)] = None
            self._members.append(member)

    def _takes_another(self, member: _Member) -> bool:
        """Whether to give it a call more. Rows whose actor has died run alone: they would take other answers with them."""
        next_one = self._again[0] if self._again else []
        alone = any(task.died for batch in (next_one, *member.calls.values()) for task in batch or ())
        return len(member.calls) < (1 if alone else _IN_FLIGHT)

    def _next(self, tasks: Iterator[Task]) -> list[Task]:
        if self._again:
            return self._again.popleft()
        batch: list[Task] = []
        left = _BYTES
        for task in itertools.islice(tasks, self._fixed or self._pace.rows):
            batch.append(task)
            left -= sum(len(value) for value in task.row.values() if isinstance(value, (bytes, str)))
            left -= sum(value.nbytes for value in task.row.values() if isinstance(value, np.ndarray))
            if left <= 0:
                break
        return batch

    def _finish(self, member: _Member, call: Any) -> Iterator[tuple[list[Task], dict[str, Any]]]:
        """What a call gave; where its actor is gone, what all its calls gave."""
        errors = self._ray.exceptions
        batch = member.calls[call]
        try:
            found = self._ray.get(call)
        except errors.RayTaskError as error:
            del member.calls[call]
            if isinstance(error.cause, PerceiverError):
                raise error.cause from None
            if batch is None:
                raise BackendError(f"the actors cannot load the bundle: {_last_line(error)}") from error
            yield from self._try_again(batch, _last_line(error))
        except errors.RayError as error:
            yield from self._lost(member, error)
        else:
            del member.calls[call]
            if batch is not None:
                columns, seconds = found
                self._pace.measured(len(batch), seconds)
                yield batch, columns
            elif found is None:
                member.ready, self._failed_starts = True, 0
            else:
                kind, message = found
                raise kind(message)

    def _lost(self, member: _Member, error: Exception) -> Iterator[tuple[list[Task], dict[str, Any]]]:
        """An actor is gone: the call that it ran is tried again row by row, those that waited as they were."""
        self._members.remove(member)
        self._ray.kill(member.handle)
        ran = False
        for call, batch in member.calls.items():
            try:
                columns, _ = self._ray.get(call, timeout=_PATIENCE) if batch is not None else ({}, None)
                if batch is not None:
                    yield batch, columns
                    continue
            except self._ray.exceptions.RayError:
                pass
            if batch is None:
                self._failed_starts += 1
                if self._failed_starts >= TRIES:
                    raise BackendError(f"{TRIES} actors ended while they loaded the bundle: {_last_line(error)}") from error
            elif ran:
                self._again.append(batch)
            else:
                memory = isinstance(error, self._ray.exceptions.OutOfMemoryError)
                why = "memory ended on its machine" if memory else "the process that ran it died"
                yield from self._try_again(batch, f"{why}, each time")
            ran = True

    def _try_again(self, batch: list[Task], reason: str) -> Iterator[tuple[list[Task], dict[str, Any]]]:
        for task in batch:
            task.died += 1
            if task.died < TRIES:
                self._again.append([task])
            else:
                yield [task], {ERROR: [f"given up after {TRIES} tries: {reason}"]}

    def _say_waiting(self) -> None:
        free = self._ray.available_resources().get("CPU", 0)
        message = f"no actor has started yet: each takes {self._cpus} CPUs, {free:g} are free on the whole cluster; waiting"
        write_lines(one_line(message), sys.stderr)


def _columns(batch: list[Task]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for task in batch for name in task.row))
    columns: dict[str, Any] = {}
    for name in names:
        columns[name] = np.empty(len(batch), object)
        columns[name][:] = [task.row.get(name) for task in batch]
    return columns


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
