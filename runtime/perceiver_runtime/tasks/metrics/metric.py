"""The record of a metric: what the right answer is called, how answers are scored, and how two are compared."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError

Row = dict[str, str]


class Score(ABC):
    """The score of a bundle's answers so far."""

    @abstractmethod
    def add(self, answer: Any, truth: Any) -> None:
        """Count an answer to whose input `truth` is right. Raises `InputError` where that cannot be compared."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """The numbers, as JSON."""

    def picture(self) -> Array | None:
        """The confusion of classes as a picture, uint8 (H, W, 3); None where there is none."""
        return None


@dataclass(frozen=True)
class Metric:
    """How a task is measured.

    A table of data has the column `truth` beside those of the input; `read_truth` opens what stands there, and raises
    `InputError`. `rows` makes such rows of a folder (None: folders hold no such data). `score` begins a score of the pipeline's
    answers, `render` shows its result to people. `distance` of two answers to one input is a flag, whether they agree, and
    numbers by name; `answer` makes an answer where the task's `answers` are less than it takes.
    """

    truth: str
    read_truth: Callable[[str], Any]
    score: Callable[[Any], Score]
    render: Callable[[Mapping[str, Any]], list[str]]
    distance: Callable[[Any, Any], tuple[bool, dict[str, float]]]
    rows: Callable[[Path], list[Row]] | None = None
    truth_is_file: bool = False
    options: Mapping[str, Any] | None = None  # of the pipeline's call


def unknown_label(label: str, labels: Sequence[str]) -> InputError:
    """What to say of a right label that the bundle has not."""
    some = ", ".join(labels[:5])
    return InputError(f"{label[:80]!r} is none of the bundle's {len(labels)} labels, which begin with {some}")


def listed(text: str, what: str, fields: Sequence[str] | None) -> list[Any]:
    """A cell of a table that is a JSON list, of objects that have `fields`. Raises `InputError`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the right {what} are {text[:80]!r}, no JSON list: give one, as --csv writes them") from error
    good = isinstance(found, list)
    if not good or (fields and not all(isinstance(each, dict) and set(fields) <= each.keys() for each in found)):
        wanted = f" of objects with {', '.join(fields)}" if fields else ""
        raise InputError(f"the right {what} are {text[:80]!r}: give a JSON list{wanted}")
    return list(found)
