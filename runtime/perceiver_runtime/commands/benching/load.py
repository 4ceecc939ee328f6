"""Calls at once from threads of one process: how long each takes.

Closed loop: each worker calls again as soon as it has its answer. Open loop: inputs arrive on a schedule whether or not the
last ones are answered, and an answer's latency counts from the scheduled time, so that what waits is not left out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from perceiver_runtime.common.errors import UsageError

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Schedule:
    """Arrivals of an open loop: the first `first` seconds after the start, then one each `every` seconds."""

    first: float
    every: float


@dataclass
class Load:
    """What was seen: latencies in seconds, and how long the measurement took.

    `waiting` is how long inputs had waited that no worker had begun when the time was over.
    """

    latencies: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    elapsed: float = 0.0


def measure_load(
    call: Callable[[], object],
    workers: int,
    seconds: float,
    schedule: Schedule | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Load:
    """Call for `seconds` from `workers` threads; what has begun by then is finished. The first error of a call is raised."""
    load, lock, errors = Load(), threading.Lock(), list[BaseException]()
    start, arrived = clock(), 0

    def due() -> float | None:
        """When the next call is due; None when the time is over."""
        nonlocal arrived
        with lock:
            now = clock()
            if errors or now - start >= seconds:
                return None
            if schedule is None:
                return now
            after = schedule.first + arrived * schedule.every
            if after >= seconds:
                return None
            arrived += 1
            return start + after

    def work() -> None:
        try:
            while (begin := due()) is not None:
                if (wait := begin - clock()) > 0:
                    sleep(wait)
                call()
                end = clock()
                with lock:
                    load.latencies.append(end - begin)
        except BaseException as error:
            with lock:
                errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    load.elapsed = clock() - start
    if schedule is not None:
        while (after := schedule.first + arrived * schedule.every) < seconds:
            load.waiting.append(max(load.elapsed - after, 0.0))
            arrived += 1
    return load


def summary(loads: list[Load]) -> dict[str, object]:
    """Of all processes together: answers, answers a second, percentiles in seconds. What still waited counts with its wait.

    Raises `UsageError` where nothing was answered.
    """
    latencies = [value for load in loads for value in load.latencies]
    waiting = [value for load in loads for value in load.waiting]
    if not latencies:
        raise UsageError("no call began in so short a time: give more --seconds")
    rows = {f"p{each}": float(np.percentile(latencies + waiting, each)) for each in PERCENTILES}
    elapsed = max(load.elapsed for load in loads)
    counts = {"answers": len(latencies), "unanswered": len(waiting), "answers_per_second": len(latencies) / elapsed}
    return {**counts, **rows}
