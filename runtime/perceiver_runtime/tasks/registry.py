"""The tasks by name: those of this package, and those that other installed packages bring."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.tasks import (
    arrays,
    audio_classification,
    features,
    fill_mask,
    flow,
    image_classification,
    multimodal,
    object_detection,
    question_answering,
    text_classification,
    token_classification,
    video_classification,
)
from perceiver_runtime.tasks.task import Task

GROUP = "perceiver.runtime_tasks"  # of entry points: the task's name = "module:record"
BUILT_IN: dict[str, Task] = {
    module.TASK.name: module.TASK
    for module in (
        flow,
        fill_mask,
        text_classification,
        image_classification,
        multimodal,
        features,
        token_classification,
        audio_classification,
        video_classification,
        object_detection,
        question_answering,
        arrays,
    )
}
_loaded: dict[str, Task] = {}


def find_task(name: str) -> Task | None:
    """The task of a name, None where nothing here brings it. Raises `UsageError` for one that cannot be loaded."""
    if name not in BUILT_IN and name not in _loaded:
        entry = _entries().get(name)
        if entry is None:
            return None
        _loaded[name] = _load(entry)
    return BUILT_IN.get(name) or _loaded[name]


def task_names() -> list[str]:
    """All that can be run here."""
    return [*BUILT_IN, *_entries()]


def unknown_task(name: str) -> UsageError:
    """What to tell who asked for a task that is not here."""
    nearest = difflib.get_close_matches(name, task_names(), n=1, cutoff=0.0)[0]
    return UsageError(f"unknown task {name!r}; did you mean {nearest!r}? available: {', '.join(task_names())}")


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN}


def _load(entry: EntryPoint) -> Task:
    package = entry.dist.name if entry.dist is not None else entry.value
    try:
        found = entry.load()
    except Exception as error:  # whatever the package's own imports raise
        raise UsageError(
            f"the task {entry.name} of {package} cannot be loaded ({error}): install that package again"
        ) from error
    if not isinstance(found, Task) or found.name != entry.name:
        raise UsageError(f"{package} brings {entry.value} as the task {entry.name}, which is no Task of that name")
    return found
