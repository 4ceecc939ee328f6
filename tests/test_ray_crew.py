"""Which calls an actor gets: rows that may have killed one run alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from perceiver_runtime.ray.crew import Crew, Task, _Member


def crew() -> Crew:
    nodes = [{"Alive": True, "Resources": {"CPU": 2}}]
    ray: Any = SimpleNamespace(nodes=lambda: nodes)
    return Crew(ray, "bundle", {"parallel": 1, "batch": None, "threads": 1}, size=1)


def row(died: int) -> Task:
    return Task({}, {}, died)


@pytest.mark.parametrize(
    ("running", "again", "takes"),
    [
        ([], [], True),
        ([row(0)], [], True),  # a call waits behind the one that runs
        ([row(0)], [row(0)], True),
        ([row(1)], [], False),  # nothing is lost with it
        ([row(0)], [row(1)], False),  # nor blamed for it: the answer before may be under way
        ([], [row(2)], True),
    ],
)
def test_rows_that_may_kill_run_alone(running: list[Task], again: list[Task], takes: bool) -> None:
    made = crew()
    member = _Member(None, {"call": running} if running else {}, ready=True)
    if again:
        made._again.append(again)
    assert made._takes_another(member) == takes
