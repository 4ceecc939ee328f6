"""Boxes: mean average precision where a box is right that overlaps a true one by half, as COCO computes it (AP50)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.metrics.metric import Metric, Score, listed, unknown_label

OVERLAP = 0.5  # the intersection over union from which on a box is right
CERTAIN = 0.5  # the score above which objects are compared, and those above which are found by default
MOST = 100  # objects of a picture
_RECALLS = np.linspace(0, 1, 101)


class TrueObject(NamedTuple):
    """What is in a picture: its label, and x0, y0, x1, y1 in pixels."""

    label: str
    box: tuple[float, float, float, float]


class BoxScore(Score):
    """Over all pictures together."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._found: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)  # of each label, scores, and whether right
        self._true = Counter[str]()
        self._pictures = 0

    def add(self, answer: Any, truth: list[TrueObject]) -> None:
        """Count a picture: each object, the surest first, takes the true one of its label that it overlaps most."""
        for each in truth:
            if each.label not in self._labels:
                raise unknown_label(each.label, self._labels)
        self._pictures += 1
        self._true.update(each.label for each in truth)
        for label, score, right in matched(answer, truth):
            self._found[label].append((score, right))

    def result(self) -> dict[str, Any]:
        """map_50, the mean over labels that are in the data, and of each label how often it is there, and its ap_50."""
        labels = [
            {"label": label, "count": self._true[label], "ap_50": average_precision(self._found[label], self._true[label])}
            for label in self._labels
            if self._true[label]
        ]
        mean = float(np.mean([each["ap_50"] for each in labels])) if labels else None
        return {"pictures": self._pictures, "objects": self._true.total(), "map_50": mean, "labels": labels}


def matched(found: Sequence[Any], truth: Sequence[Any]) -> list[tuple[str, float, bool]]:
    """Of each object found, the surest first: its label and score, and whether a true one is left for it."""
    left = list(truth)
    answers = []
    for each in sorted(found, key=lambda one: -one.score):
        own = [other for other in left if other.label == each.label]
        best = max(own, key=lambda other: overlap(each.box, other.box), default=None)
        right = best is not None and overlap(each.box, best.box) >= OVERLAP
        if right:
            left = [other for other in left if other is not best]
        answers.append((each.label, float(each.score), right))
    return answers


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """The intersection of two boxes over their union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0.0, width) * max(0.0, height)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - both
    return both / area if area > 0 else 0.0


def average_precision(found: Sequence[tuple[float, bool]], total: int) -> float:
    """The mean of the precision at 101 recalls, at each the best that there is from there on."""
    right = np.array([right for _, right in sorted(found, key=lambda pair: -pair[0])], np.float64)
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    best: NDArray[np.float64] = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / total, _RECALLS, side="left")
    return float(np.mean(np.where(places < len(best), best[np.minimum(places, len(best) - 1)], 0.0)))


def read_objects(text: str) -> list[TrueObject]:
    """A JSON list of objects with label and box, as the column `objects` of a table has them. Raises `InputError`."""
    found = []
    for each in listed(text, "objects", ("label", "box")):
        label, box = each["label"], each["box"]
        numbers = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
        if not isinstance(label, str) or not numbers or not (box[0] < box[2] and box[1] < box[3]):
            raise InputError(f"a right object is {label!r}, {box!r}: give a label, and x0, y0, x1, y1 with x0 < x1 and y0 < y1")
        found.append(TrueObject(label, (box[0], box[1], box[2], box[3])))
    return found


def render(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    mean = "–, for the data has no objects" if result["map_50"] is None else f"{result['map_50']:.1%}"
    lines = [f"mean average precision {mean} at an overlap of {OVERLAP}"]
    lines.append(f"{result['objects']} objects in {result['pictures']} pictures")
    lines.append(f"{'AP50':>8} {'count':>7}  label")
    return lines + [f"{each['ap_50']:>8.1%} {each['count']:>7}  {each['label']}" for each in result["labels"]]


def distance(first: Any, second: Any) -> tuple[bool, dict[str, float]]:
    """Whether each object above 0.5 has a partner of its label that it overlaps by half; how many have none."""
    sides = [[each for each in answer if each.score > CERTAIN] for answer in (first, second)]
    pairs = sum(right for _, _, right in matched(*sides))
    alone = len(sides[0]) + len(sides[1]) - 2 * pairs
    return not alone, {"objects_alone": float(alone)}


BOXES = Metric(
    truth="objects",
    read_truth=read_objects,
    score=lambda pipeline: BoxScore(pipeline.labels.names),
    render=render,
    distance=distance,
    options={"threshold": 0.0, "top_k": MOST},
)
