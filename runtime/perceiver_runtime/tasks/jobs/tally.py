"""How a job goes: how many inputs are done, which failed, and a bar on stderr where somebody is watching."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.terminal import is_terminal

SHOWN_ERRORS = 10
_EVERY = 0.1  # seconds between two pictures of the bar
_WIDTH = 24


class Tally:
    """How many inputs are done, which failed, and a bar of it where somebody is watching."""

    def __init__(self, skipped: int, total: int | None) -> None:
        self.done, self._skipped, self._total = skipped, skipped, total
        self._errors: list[dict[str, str]] = []
        self._failed = 0
        self._shown = is_terminal(sys.stderr)
        self._start = self._drawn = time.perf_counter()

    def count(self, name: str, error: InputError | None) -> None:
        """One more; `error` is why it has no answer."""
        self.done += 1
        if error is not None:
            self._failed += 1
            if len(self._errors) < SHOWN_ERRORS:
                text = str(error)
                self._errors.append({"input": name, "error": text if name in text else f"{name}: {text}"})
        if self._shown and time.perf_counter() - self._drawn > _EVERY:
            self._draw()

    def failed_before(self, table: str, number: int) -> None:
        """Lines that are there already and hold an error."""
        self._errors.append({"input": table, "error": f"{table} holds {number} inputs that failed before"})

    @contextlib.contextmanager
    def bar(self) -> Iterator[None]:
        """A bar, which is gone at the end."""
        try:
            yield
        finally:
            if self._shown:
                print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _draw(self) -> None:
        self._drawn = time.perf_counter()
        rate = (self.done - self._skipped) / max(self._drawn - self._start, 1e-9)
        parts = [f"{self.done}", f"{rate:.3g} a second"]
        if self._total:
            filled = round(_WIDTH * min(1.0, self.done / self._total))
            left = round((self._total - self.done) / rate) if rate else 0
            parts = [f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self.done} of {self._total}", f"{rate:.3g} a second"]
            parts.append(f"{left // 60}:{left % 60:02} left")
        if self._failed:
            parts.append(f"{self._failed} failed")
        print(f"\r\033[K{', '.join(parts)}", end="", file=sys.stderr, flush=True)

    def result(self) -> dict[str, object]:
        """For the command: numbers, and the first errors."""
        counts: dict[str, object] = {"inputs": self.done, "skipped": self._skipped, "failed": self._failed}
        return counts | ({"errors": self._errors} if self._errors else {})
