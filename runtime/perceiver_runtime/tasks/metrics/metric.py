"""The record of a metric: what the right answer is called, how answers are scored, and how two are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceiver_runtime.common.arrays import Array

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
