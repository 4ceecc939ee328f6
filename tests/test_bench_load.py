"""`perceiver bench` under load: its arithmetic on a clock of its own, and one real run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perceiver_runtime.commands.benching.load import Load, Schedule, measure_load, summary
from perceiver_runtime.commands.benching.under_load import advice
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.errors import UsageError


class Clock:
    """Time that passes in sleeps and calls only."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def measured(durations: list[float], seconds: float, schedule: Schedule | None = None) -> Load:
    clock, left = Clock(), iter(durations)
    return measure_load(lambda: clock.sleep(next(left)), 1, seconds, schedule, lambda: clock.now, clock.sleep)


def test_closed_loop() -> None:
    load = measured([1.0, 2.0, 3.0], 4.0)
    assert (load.latencies, load.waiting, load.elapsed) == ([1.0, 2.0, 3.0], [], 6.0)
    assert summary([load, Load([2.0], [], 3.0)])["answers_per_second"] == pytest.approx(4 / 6)


def test_open_loop_counts_from_the_scheduled_time() -> None:
    """A call of 3 s makes the next two late, though they take half a second each."""
    load = measured([3.0, 0.5, 0.5, 0.5], 4.0, Schedule(0.0, 1.0))
    assert load.latencies == [3.0, 2.5, 2.0]
    assert (load.waiting, load.elapsed) == ([1.0], 4.0)
    assert summary([load])["unanswered"] == 1


def test_open_loop_waits_for_arrivals() -> None:
    load = measured([0.25, 0.25], 2.0, Schedule(0.5, 1.0))
    assert (load.latencies, load.waiting, load.elapsed) == ([0.25, 0.25], [], 1.75)


def test_errors_of_calls_are_raised() -> None:
    def fails() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        measure_load(fails, 2, 1.0)
    with pytest.raises(UsageError, match="more --seconds"):
        summary([Load()])


def way(workers: int, rate: float, p50: float, memory: int) -> dict[str, float]:
    named = {"workers": workers, "processes": 1, "threads": 1}
    return {**named, "answers_per_second": rate, "p50": p50, "peak_memory_bytes": memory}


def test_advice() -> None:
    assert advice([way(4, 10, 0.4, 9), way(1, 8, 0.1, 5)]) == (
        "for many inputs take --workers 4 --processes 1 --threads 1: 10 a second; "
        "for the shortest answers --workers 1 --processes 1 --threads 1: 100 ms"
    )
    equal = advice([way(4, 10, 0.4, 9), way(1, 9.9, 0.1, 5)])
    assert "take --workers 1 " in equal
    assert equal.endswith("and the shortest answers too")


def test_a_real_run(shipped: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", str(shipped("image-classification")), "--device", "cpu", "--threads", "1", "--warm-up", "1"]
    arguments += ["--workers", "2", "--processes", "2", "--rate", "20", "--seconds", "0.5"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (load,) = found["loads"]
    assert load["answers"] + load["unanswered"] == 10
    assert 0 < load["p50"] <= load["p95"] <= load["p99"]
    assert load["peak_memory_bytes"] > 20e6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--workers", "2", "--runs", "5"], "leave them out under load"),
        (["--sweep", "--batch", "4"], "leave them out under load"),
        (["--sweep", "--rate", "4", "--threads", "1"], "leave out --rate and --threads"),
    ],
)
def test_refused(given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tmp_path), *given]) == 2
    assert said in capsys.readouterr().err


def test_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tmp_path), "--workers", "2"]) != 0
    assert "has no manifest.json" in capsys.readouterr().err
