"""Records of tasks by name: those of this project, and those that other installed packages bring as entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from perceiver_io.errors import TaskError

T = TypeVar("T")


class Installed(Mapping[str, T]):
    """By task: the records in `built_in`, and those of entry points in `group`, which are imported when they are asked for.

    An entry point is called as its task. One of a built-in name is passed over; one that cannot be imported is a `TaskError`.
    """

    def __init__(self, group: str, built_in: Mapping[str, T]) -> None:
        self._group, self._built_in = group, dict(built_in)
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]
        if name not in self._loaded:
            self._loaded[name] = _load(self._entries()[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._built_in, *self._entries()])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:  # Mapping's own would import it
        return name in self._built_in or name in self._entries()

    def package(self, name: str) -> str | None:
        """The distribution that brings a task; None for this project's own."""
        entry = self._entries().get(name)
        return None if entry is None or entry.dist is None else entry.dist.name

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self._group) if entry.name not in self._built_in}


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # whatever the package's own imports raise
        package = entry.dist.name if entry.dist is not None else entry.value
        message = f"the task {entry.name} of {package} cannot be loaded ({error}): install that package again"
        raise TaskError(message) from error
