"""Classifiers that do not choose one label of several: any number of labels at once, or values (regression)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.labels import LabelScores
from perceiver_runtime.tasks.metrics.metric import Score, unknown_label

THRESHOLD = 0.5  # of a probability: from here on a label is given
SHOWN = 60
_WITHIN = 0.01  # of the larger value: two values that agree


class MultiLabelMetric(Score):
    """F1 over all decisions and averaged over labels, mean average precision, and how often all labels are right.

    As scikit-learn's f1_score (micro, macro), average_precision_score and accuracy_score of such labels; labels that are in no
    right answer have no average precision, and are in no average.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._classes = _numbered(names)
        self._names = names
        self._probabilities: list[list[float]] = []
        self._truths: list[list[bool]] = []

    def add(self, answer: LabelScores, truth: str) -> None:
        """Count `truth`: a label, or a JSON list of any number of them; by name, or by number where no label has that name."""
        right = {self._class(label) for label in _several(truth)}
        self._truths.append([number in right for number in range(len(self._names))])
        self._probabilities.append(_values(answer, self._classes))

    def _class(self, label: Any) -> int:
        name = str(label)
        if name in self._classes:
            return self._classes[name]
        if name.isascii() and name.isdigit() and int(name) < len(self._names):
            return int(name)
        raise unknown_label(name, self._names)

    def result(self) -> dict[str, Any]:
        """exact_match, f1 (of all decisions), macro_f1, mean_average_precision, and the same of each label."""
        truths, probabilities = np.array(self._truths), np.array(self._probabilities)
        found = probabilities >= THRESHOLD
        both, given, true = (each.sum(axis=0) for each in (truths & found, found, truths))
        labels = [
            {
                "label": name,
                "count": int(true[number]),
                "recall": _share(both[number], true[number]),
                "precision": _share(both[number], given[number]),
                "f1": _share(2 * both[number], given[number] + true[number]),
                "average_precision": average_precision(truths[:, number], probabilities[:, number]),
            }
            for number, name in enumerate(self._names)
        ]
        seen = [each for each in labels if each["count"]]
        return {
            "exact_match": float((truths == found).all(axis=1).mean()),
            "f1": _share(2 * both.sum(), given.sum() + true.sum()),
            "macro_f1": _mean([each["f1"] for each in seen]),
            "mean_average_precision": _mean([each["average_precision"] for each in seen]),
            "labels": labels,
        }


class RegressionMetric(Score):
    """Mean absolute error, root mean squared error and R² of each value."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._classes = _numbered(names)
        self._found: list[list[float]] = []
        self._truths: list[list[float]] = []

    def add(self, answer: LabelScores, truth: str) -> None:
        """Count `truth`: a number, or a JSON list of one for each value."""
        right = _several(truth)
        if len(right) != len(self._names) or not all(type(each) in (int, float) and math.isfinite(each) for each in right):
            raise InputError(f"the right value is {truth[:80]!r}: give {_amount(len(self._names))}")
        self._truths.append([float(each) for each in right])
        self._found.append(_values(answer, self._classes))

    def result(self) -> dict[str, Any]:
        """mean_absolute_error and root_mean_squared_error over all values; of each also r2 (None where it never varies)."""
        truths, found = np.array(self._truths), np.array(self._found)
        errors = found - truths
        values = []
        for number, name in enumerate(self._names):
            around = float(np.square(truths[:, number] - truths[:, number].mean()).sum())
            left = float(np.square(errors[:, number]).sum())
            values.append({"label": name, **_errors(errors[:, number]), "r2": 1 - left / around if around > 0 else None})
        return {**_errors(errors), "values": values}


def average_precision(truths: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """The precision at each score, weighted by the recall gained there; equal scores count as one. None without a true one."""
    if not truths.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of a run of equal scores
    right = np.cumsum(truths[order])[last]
    precision = right / (np.flatnonzero(last) + 1)
    return float((np.diff(right, prepend=0) / truths.sum() * precision).sum())


def render_several(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    if "mean_absolute_error" in result:
        return _render_values(result)
    lines = [f"F1 {_percent(result['f1'])} over all labels, {_percent(result['macro_f1'])} averaged over them"]
    lines.append(f"mean average precision {_percent(result['mean_average_precision'])}")
    lines.append(f"all labels of an input right: {_percent(result['exact_match'])}")
    lines.append(f"{'F1':>8} {'recall':>8} {'precision':>10} {'AP':>8} {'count':>7}  label")
    for each in result["labels"][:SHOWN]:
        parts = [_percent(each[name]) for name in ("f1", "recall", "precision", "average_precision")]
        lines.append(f"{parts[0]:>8} {parts[1]:>8} {parts[2]:>10} {parts[3]:>8} {each['count']:7}  {each['label']}")
    if len(result["labels"]) > SHOWN:
        lines.append(f"and {len(result['labels']) - SHOWN} labels more, see --json")
    return lines


def _render_values(result: Mapping[str, Any]) -> list[str]:
    lines = [f"{'mean absolute':>14} {'root mean squared':>18} {'R²':>8}  error of"]
    for each in [{"label": "(all)", "r2": None, **result}, *result["values"]][-SHOWN if len(result["values"]) > 1 else -1 :]:
        r2 = "–" if each["r2"] is None else f"{each['r2']:.3f}"
        lines.append(f"{each['mean_absolute_error']:14.4g} {each['root_mean_squared_error']:18.4g} {r2:>8}  {each['label']}")
    return lines


def distance_of_several(first: LabelScores, second: LabelScores) -> tuple[bool, dict[str, float]]:
    """Whether the same labels are given, or values are within 1 %; how far probabilities, or values, are apart at most."""
    names = [each.label for each in first]
    a, b = (np.array(_values(each, {name: number for number, name in enumerate(names)})) for each in (first, second))
    apart = float(np.abs(a - b).max())
    if first.problem_type == "multi_label":
        return bool(((a >= THRESHOLD) == (b >= THRESHOLD)).all()), {"probability": apart}
    return bool((np.abs(a - b) <= _WITHIN * np.maximum(np.abs(a), np.abs(b))).all()), {"value": apart}


def _several(text: str) -> list[Any]:
    """What a cell lists: the items of a JSON list, or the one number or text that it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return found if isinstance(found, list) else [found] if type(found) in (int, float) else [text]


def _values(answer: LabelScores, classes: Mapping[str, int]) -> list[float]:
    """The probability or value of each label, in the bundle's order."""
    values = [math.nan] * len(classes)
    for each in answer:
        if each.label in classes:
            values[classes[each.label]] = each.probability
    if any(map(math.isnan, values)):
        raise InputError("an answer lacks some of the labels: the two bundles have other labels")
    return values


def _numbered(names: Sequence[str]) -> dict[str, int]:
    found = {name: number for number, name in enumerate(names)}
    if len(found) < len(names):
        twice = next(name for number, name in enumerate(names) if found[name] != number)
        raise InputError(f"two of the bundle's labels are {twice!r}, so that answers do not say which: it is not scored")
    return found


def _errors(errors: NDArray[np.float64]) -> dict[str, float]:
    mean, squared = float(np.abs(errors).mean()), float(np.square(errors).mean())
    return {"mean_absolute_error": mean, "root_mean_squared_error": math.sqrt(squared)}


def _share(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if values else None


def _amount(count: int) -> str:
    return "a number" if count == 1 else f"a JSON list of {count} numbers"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
