"""Counts for Prometheus, in its text format."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Requests by model and status, how long they took, how many there are. Names of models are the server's own."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        """`gauges` by name: what they are, and what gives them."""
        self._gauges = dict(gauges)
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def count(self, model: str, status: int, seconds: float) -> None:
        """A request was answered."""
        with self._lock:
            self._requests[model, status] = self._requests.get((model, status), 0) + 1
            buckets = self._buckets.setdefault(model, [0] * (len(_BOUNDS) + 1))
            buckets[sum(seconds > bound for bound in _BOUNDS)] += 1
            self._sums[model] = self._sums.get(model, 0.0) + seconds

    @property
    def answered(self) -> int:
        """All requests so far."""
        with self._lock:
            return sum(self._requests.values())

    def text(self) -> str:
        """All of it."""
        lines = []
        for name, (about, value) in self._gauges.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {value():g}"]
        with self._lock:
            name = "perceiver_requests_total"
            lines += [f"# HELP {name} Requests answered, by model and HTTP status.", f"# TYPE {name} counter"]
            lines += [f'{name}{{model="{model}",code="{code}"}} {n}' for (model, code), n in sorted(self._requests.items())]
            name = "perceiver_request_seconds"
            lines += [f"# HELP {name} Seconds from a request's first byte to its answer.", f"# TYPE {name} histogram"]
            for model, buckets in sorted(self._buckets.items()):
                total = 0
                for bound, count in zip((*map(str, _BOUNDS), "+Inf"), buckets):
                    total += count
                    lines.append(f'{name}_bucket{{model="{model}",le="{bound}"}} {total}')
                lines += [f'{name}_sum{{model="{model}"}} {self._sums[model]:.6f}', f'{name}_count{{model="{model}"}} {total}']
        return "\n".join([*lines, ""])
