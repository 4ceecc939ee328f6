"""Logits to labels with probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.common.plain import Record, html_table
from perceiver_runtime.common.records import parse_json

FILE = "labels.json"
MAX_BYTES = 16 << 20
PROBLEM_TYPES = ("single_label", "multi_label", "regression")


@dataclass(frozen=True)
class LabelScore(Record):
    """A label's name and its probability; for a regression, the value itself."""

    label: str
    probability: float


class LabelScores(list[LabelScore]):
    """Labels, the most probable first: a list, which notebooks show as a table. `problem_type` is the bundle's."""

    problem_type = "single_label"

    def to_dict(self) -> dict[str, Any]:
        """`labels`, a list of label and probability."""
        return {"labels": [each.to_dict() for each in self]}

    def _repr_html_(self) -> str:
        return html_table(("label", "probability"), ((each.label, each.probability) for each in self))


@dataclass(frozen=True)
class Labels:
    """The labels of a bundle, in the order of its logits, and how logits become probabilities.

    `single_label`: softmax, one label is right. `multi_label`: sigmoid, each on its own. `regression`: the logits are the
    values.
    """

    names: tuple[str, ...]
    problem_type: str

    @classmethod
    def of(cls, bundle: Bundle) -> Labels:
        """Read labels.json and the manifest's `problem`. Raises `IntegrityError`."""
        problem_type = bundle.manifest.processor.get("problem")
        if FILE not in bundle.present or problem_type not in PROBLEM_TYPES:
            raise IntegrityError(f"{bundle.folder} has no {FILE}, or a problem type that is none of {', '.join(PROBLEM_TYPES)}")
        return cls(read_labels(bundle.read(FILE, limit=MAX_BYTES)), problem_type)

    def scores(self, logits: NDArray[np.float32], top_k: int) -> LabelScores:
        """logits (labels,) → the `top_k` best, best first."""
        return self.ranked(self.probabilities(logits), top_k)

    def ranked(self, values: NDArray[np.float32], top_k: int) -> LabelScores:
        """probabilities, or values, (labels,) → the `top_k` largest, the largest first."""
        best = np.argsort(-values, kind="stable")[: whole_number("top_k", top_k, InputError)]
        found = LabelScores(LabelScore(self.names[number], float(values[number])) for number in best)
        found.problem_type = self.problem_type
        return found

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """logits (..., labels) → probabilities, or for a regression the values, of the same shape."""
        if self.problem_type == "single_label":
            return softmax(logits)
        return (
            logits if self.problem_type == "regression" else (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        )


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """logits (..., n) → probabilities that sum to one over the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result


def read_labels(content: bytes) -> tuple[str, ...]:
    """labels.json: a JSON list of names. Raises `IntegrityError`."""
    names = parse_json(content, FILE)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise IntegrityError(f"{FILE} should hold a list of names: export the bundle again")
    return tuple(names)
