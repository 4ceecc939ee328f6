"""How many rows to take at once: as many as take a given time, found by measuring."""

from __future__ import annotations

_GROWTH = 8  # times, at most, from one measurement to the next: the first may be of an unusual row


class Pace:
    """Rows that take about `seconds` together: one to begin with, `most` at most."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self.rows = 1

    def measured(self, rows: int, seconds: float) -> None:
        """So many rows took so long."""
        fitting = self._seconds * rows / max(seconds, 1e-9)
        self.rows = int(max(1, min(fitting, rows * _GROWTH, self._most)))
