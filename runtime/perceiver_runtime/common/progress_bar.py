"""How far a command is with many frames: a bar on a terminal, plain lines elsewhere, both on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from perceiver_runtime.common.terminal import is_terminal, write_lines

_BAR = 24  # characters
_PAUSES = {True: 0.1, False: 10.0}  # seconds between two reports, on a terminal and elsewhere


class ProgressBar:
    """Counts what is done, of `total` where that is known."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._start = self._said = time.monotonic()
        self._terminal = is_terminal(sys.stderr)

    @property
    def rate(self) -> float:
        """What was done in a second, on average."""
        return self._done / max(1e-9, time.monotonic() - self._start)

    def step(self, note: str = "") -> None:
        """One more is done."""
        self._done += 1
        if time.monotonic() - self._said >= _PAUSES[self._terminal]:
            self._said = time.monotonic()
            self._print(note)

    def line(self, note: str = "") -> str:
        """Such as `120 of 300 frames, 3.2 frames/s, 0:56 left`."""
        known = self._total is not None and self._total >= self._done
        parts = [f"{self._done} of {self._total} {self._what}" if known else f"{self._done} {self._what}"]
        parts += [f"{self.rate:.1f} {self._what}/s"]
        if known and self._total is not None:
            seconds = round((self._total - self._done) / max(1e-9, self.rate))
            parts.append(f"{seconds // 60}:{seconds % 60:02} left")
        return ", ".join([*parts, note] if note else parts)

    def end(self) -> None:
        """Nothing more is coming: a bar goes."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _print(self, note: str) -> None:
        if not self._terminal:
            if sys.stderr is not None:
                write_lines(self.line(note), sys.stderr)
            return
        share = min(1.0, self._done / self._total) if self._total else 0.0
        bar = "#" * round(_BAR * share)
        print(f"\r\033[K[{bar:{_BAR}}] {self.line(note)}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[ProgressBar]:
    """A bar that is gone at the end."""
    bar = ProgressBar(what, total)
    try:
        yield bar
    finally:
        bar.end()
