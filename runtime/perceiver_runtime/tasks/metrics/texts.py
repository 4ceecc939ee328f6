"""Masked bytes: how often the whole span is right; latents: how far two are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.metrics.labels import TOP, wilson
from perceiver_runtime.tasks.metrics.metric import Metric, Score

_SAME = 0.999  # the cosine from which on latents are called the same


class SpanMetric(Score):
    """How often the best candidate of each span, and one of the best five, is what stood there."""

    def __init__(self) -> None:
        self._right = self._in_top = self._total = 0

    def add(self, answer: Any, truth: str) -> None:
        """Count the spans of a text against the text without masks, `truth`, or where there is one span, what stood there."""
        pieces = answer.pieces
        expected = _expected(pieces, truth) if len(answer) > 1 or truth.startswith(pieces[0]) else [truth]
        if expected is None or len(expected) != len(answer):
            raise InputError(f"{truth[:80]!r} is not the text with something in place of its masks")
        for span, right in zip(answer, expected):
            texts = [candidate.text for candidate in span.candidates]
            self._total += 1
            self._right += texts[0] == right
            self._in_top += right in texts[:TOP]

    def result(self) -> dict[str, Any]:
        """accuracy with its 95 % interval, and top_5_accuracy, over spans."""
        return {
            "spans": self._total,
            "accuracy": self._right / self._total,
            "accuracy_interval": list(wilson(self._right, self._total)),
            f"top_{TOP}_accuracy": self._in_top / self._total,
        }


def _expected(pieces: tuple[str, ...], truth: str) -> list[str] | None:
    """What stands between the pieces of a text; None where the pieces are not in it."""
    found, place = [], len(pieces[0])
    if not truth.startswith(pieces[0]):
        return None
    for number, piece in enumerate(pieces[1:], 2):
        end = len(truth) - len(piece) if number == len(pieces) else truth.find(piece, place + 1)
        if end < place or truth[end : end + len(piece)] != piece:
            return None
        found.append(truth[place:end])
        place = end + len(piece)
    return found


def _render(result: Mapping[str, Any]) -> list[str]:
    low, high = result["accuracy_interval"]
    return [
        f"right {result['accuracy']:.1%} of {result['spans']} spans, between {low:.1%} and {high:.1%} with 95 % confidence",
        f"among the best {TOP}: {result[f'top_{TOP}_accuracy']:.1%}",
    ]


def _span_distance(first: Any, second: Any) -> tuple[bool, dict[str, float]]:
    """Whether the filled texts are the same; how far the probabilities of the best candidates are apart, on average."""
    apart = [abs(a.candidates[0].probability - b.candidates[0].probability) for a, b in zip(first, second)]
    return first.filled == second.filled, {"probability": float(np.mean(apart))}


def _latent_distance(first: Any, second: Any) -> tuple[bool, dict[str, float]]:
    """Whether latents point the same way; one less the cosine, and the largest difference over the spread."""
    a, b = (np.asarray(each, np.float64).reshape(-1) for each in (first, second))
    if a.shape != b.shape:
        raise InputError(f"the latents have {a.size} and {b.size} values: these bundles are of different models")
    cosine = float(a @ b) / max(float(np.linalg.norm(a)) * float(np.linalg.norm(b)), 1e-30)
    return cosine >= _SAME, {
        "cosine_distance": 1 - cosine,
        "largest_over_spread": float(np.abs(a - b).max()) / max(float(a.std()), 1e-30),
    }


def _no_score(pipeline: Any) -> Score:
    raise InputError("latents are neither right nor wrong: perceiver compare says how far those of two bundles are apart")


SPANS = Metric(
    truth="answer",
    read_truth=lambda text: text,
    score=lambda pipeline: SpanMetric(),
    render=_render,
    distance=_span_distance,
)
LATENTS = Metric(truth="", read_truth=lambda text: text, score=_no_score, render=lambda result: [], distance=_latent_distance)
