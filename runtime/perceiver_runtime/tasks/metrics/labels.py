"""Labels: accuracy, of each class, and which classes are taken for which."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.picture_series import natural_order
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.metrics.metric import Metric, Row, Score, unknown_label
from perceiver_runtime.tasks.metrics.several_labels import (
    MultiLabelMetric,
    RegressionMetric,
    distance_of_several,
    render_several,
)

TOP = 5  # how many labels are looked at
SHOWN_CLASSES = 60
_CELL = (8, 24)  # pixels of a class in the picture, at least and at most
_SIDE = 768  # about the picture's


class LabelMetric(Score):
    """Accuracy of the best label, and of the best five; the classes are the bundle's."""

    def __init__(self, labels: Labels) -> None:
        self._names = labels.names
        self._classes = {name: number for number, name in enumerate(labels.names)}
        self._confusion: Counter[tuple[int, int]] = Counter()
        self._in_top = 0

    def add(self, answer: LabelScores, truth: str) -> None:
        """Count `truth`, a label's name, or its number where it is no name."""
        right = self._classes.get(truth)
        if right is None and truth.isdigit() and int(truth) < len(self._names):
            right = int(truth)
        if right is None:
            raise unknown_label(truth, self._names)
        self._confusion[right, self._classes[answer[0].label]] += 1
        self._in_top += any(each.label == self._names[right] for each in answer[:TOP])

    def result(self) -> dict[str, Any]:
        """accuracy with its 95 % interval, top_5_accuracy, and of each class how often it is there, found, and right."""
        total = sum(self._confusion.values())
        right = sum(count for (truth, found), count in self._confusion.items() if truth == found)
        found: dict[str, Any] = {"accuracy": right / total, "accuracy_interval": list(wilson(right, total))}
        if len(self._names) > TOP:
            found[f"top_{TOP}_accuracy"] = self._in_top / total
        return {**found, "classes": [self._of_class(number) for number in range(len(self._names)) if self._seen(number)]}

    def _seen(self, number: int) -> bool:
        return any(number in pair for pair in self._confusion)

    def _of_class(self, number: int) -> dict[str, Any]:
        own = {found: count for (truth, found), count in self._confusion.items() if truth == number}
        predicted = sum(count for (_, found), count in self._confusion.items() if found == number)
        right, count = own.get(number, 0), sum(own.values())
        wrong = sorted(((found, times) for found, times in own.items() if found != number), key=lambda pair: -pair[1])
        return {
            "label": self._names[number],
            "count": count,
            "recall": right / count if count else None,
            "precision": right / predicted if predicted else None,
            "taken_for": {self._names[found]: times for found, times in wrong[:3]},
        }

    def picture(self) -> NDArray[np.uint8]:
        """A row for each class in the data, a column for what it was taken for: white is never, dark is always."""
        seen = [number for number in range(len(self._names)) if self._seen(number)]
        shares = np.array([[self._confusion[truth, found] for found in seen] for truth in seen], np.float64)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
        return confusion_picture(shares)


def confusion_picture(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares (N, N) in [0, 1] → uint8 (H, W, 3): green on the diagonal, red beside it, with lines between classes."""
    least, most = _CELL
    cell = min(most, max(least, _SIDE // len(shares)))
    diagonal = np.eye(len(shares), dtype=bool)[..., None]
    colour = np.where(diagonal, np.array([0, 110, 50]), np.array([180, 0, 30]))
    strength = np.sqrt(shares)[..., None]  # one in a hundred is to be seen
    cells = np.rint(255 + (colour - 255) * strength).astype(np.uint8)
    picture = np.repeat(np.repeat(cells, cell, axis=0), cell, axis=1)
    picture[::cell] = picture[:, ::cell] = 225
    return picture


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of `right` of `total` (E. B. Wilson, 1927)."""
    z = 1.959964
    share, scale = right / total, 1 + z * z / total
    middle = share + z * z / (2 * total)
    width = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)


def score_of(labels: Labels) -> Score:
    """The score for a bundle's labels: one right label, any number of them, or values."""
    if labels.problem_type == "single_label":
        return LabelMetric(labels)
    return (MultiLabelMetric if labels.problem_type == "multi_label" else RegressionMetric)(labels.names)


def render(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    if "accuracy" not in result:
        return render_several(result)
    low, high = result["accuracy_interval"]
    lines = [f"accuracy {result['accuracy']:.1%}, between {low:.1%} and {high:.1%} with 95 % confidence"]
    if f"top_{TOP}_accuracy" in result:
        lines.append(f"among the best {TOP}: {result[f'top_{TOP}_accuracy']:.1%}")
    lines.append(f"{'recall':>8} {'precision':>10} {'count':>7}  class, and what it is taken for")
    for each in result["classes"][:SHOWN_CLASSES]:
        recall, precision = (f"{each[name]:.1%}" if each[name] is not None else "–" for name in ("recall", "precision"))
        others = ", ".join(f"{name} {times}" for name, times in each["taken_for"].items())
        lines.append(f"{recall:>8} {precision:>10} {each['count']:7}  {each['label']}{': ' if others else ''}{others}")
    if len(result["classes"]) > SHOWN_CLASSES:
        lines.append(f"and {len(result['classes']) - SHOWN_CLASSES} classes more, see --json")
    return lines


def distance(first: LabelScores, second: LabelScores) -> tuple[bool, dict[str, float]]:
    """Whether the best labels are the same; how far the probability of the first's best label is apart in the second.

    Of labels that do not exclude each other, and of values, what `distance_of_several` says.
    """
    if first.problem_type != "single_label":
        return distance_of_several(first, second)
    other = {each.label: each.probability for each in second}
    same = first[0].label == second[0].label
    return same, {"probability": abs(first[0].probability - other.get(first[0].label, 0.0))}


def class_folders(column: str, suffixes: Sequence[str]) -> Callable[[Path], list[Row]]:
    """Rows of a folder with a folder for each class, named as the label, which holds the files of `column`."""

    def rows(folder: Path) -> list[Row]:
        found = []
        for inside in sorted((each for each in folder.iterdir() if each.is_dir()), key=natural_order):
            files = [each for each in inside.rglob("*") if each.suffix.lower() in suffixes and not each.name.startswith(".")]
            found += [{column: str(each), "label": inside.name} for each in sorted(files, key=natural_order)]
        if not found:
            raise InputError(f"{folder} has no folders, one for each class, that hold {', '.join(suffixes)}")
        return found

    return rows


def label_metric(rows: Callable[[Path], list[Row]] | None = None) -> Metric:
    """Of a task that gives labels, of whose data folders hold `rows`."""
    return Metric(
        truth="label",
        read_truth=lambda text: text,
        score=lambda pipeline: score_of(labels_of(pipeline)),
        render=render,
        distance=distance,
        rows=rows,
        options={"top_k": 1 << 20},  # all of them
    )


def labels_of(pipeline: Any) -> Labels:
    """The labels of a pipeline, whose own `labels` may be a method."""
    found = pipeline.labels if isinstance(pipeline.labels, Labels) else pipeline.label_names
    assert isinstance(found, Labels)
    return found
