"""How far a command is: a bar on a terminal, plain lines elsewhere."""

import io
import sys

import pytest

from perceiver_runtime.common import progress_bar as module
from perceiver_runtime.common.progress_bar import progress_bar


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "pause", "expected"),
    [
        (True, 1.0, "\r\033[K[############            ] 2 of 4 frames, 1.0 frames/s, 0:02 left\r\033[K"),
        (False, 10.0, "2 of 4 frames, 0.1 frames/s, 0:20 left\n"),
        (False, 1.0, ""),  # too early for a line
    ],
)
def test_a_bar(monkeypatch: pytest.MonkeyPatch, terminal: bool, pause: float, expected: str) -> None:
    times = iter([0.0, 0.0, 2 * pause, 2 * pause, 2 * pause, 2 * pause, 2 * pause])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar("frames", 4) as bar:
        bar.step()
        bar.step()
    assert screen.getvalue() == expected


def test_without_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar("fields", None) as bar:
        bar.step()
        line = bar.line("3 frames dropped")
    assert line.startswith("1 fields, ")
    assert line.endswith(" fields/s, 3 frames dropped")
