"""Time spent per stage of a pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Seconds spent in each stage since the pipeline was loaded, summed over tiles, chunks and threads."""

    preprocess: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    postprocess: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent inside under `name`."""
        start = time.perf_counter()
        yield
        with self._lock:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)

    def seconds(self) -> dict[str, float]:
        """The four sums by stage."""
        return {name: getattr(self, name) for name in ("preprocess", "encode", "decode", "postprocess")}
