"""How many rows to take at once: as many as take a given time, found by measuring."""

from __future__ import annotations

_GROWTH = 8  # times, at most, from one measurement to the next: the first may be of an unusual row


class Pace:
    """Rows that take about `seconds` together: `least` to begin with, `most` at most."""

    def __init__(self, seconds: float, most: int, least: int = 1) -> None:
        self._seconds, self._most, self._least = seconds, most, least
        self.rows = least

    def measured(self, rows: int, seconds: float) -> None:
        """So many rows took so long."""
        fitting = self._seconds * rows / max(seconds, 1e-9)
        self.rows = int(max(self._least, min(fitting, rows * _GROWTH, self._most)))
