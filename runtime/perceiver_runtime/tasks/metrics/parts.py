"""Parts of texts: labelled spans, exactly as they should be, and answers to questions as SQuAD scores them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.metrics.labels import wilson
from perceiver_runtime.tasks.metrics.metric import Metric, Score, listed, unknown_label

Span = tuple[int, int, str]  # the first character, the one after the last, the label
_LEFT_OUT = str.maketrans("", "", string.punctuation)


class SpanScore(Score):
    """Precision, recall and F1 of spans whose beginning, end and label are right; over all, and of each label."""

    def __init__(self, labels: list[str]) -> None:
        self._labels = labels
        self._right, self._found, self._true = Counter[str](), Counter[str](), Counter[str]()

    def add(self, answer: Any, truth: set[Span]) -> None:
        """Count the spans of a text."""
        for _, end, label in truth:
            if label not in self._labels:
                raise unknown_label(label, self._labels)
            if end > len(answer.text):
                raise InputError(f"a right span ends at {end}, the text has {len(answer.text)} characters")
        found = _spans(answer)
        self._right.update(label for _, _, label in found & truth)
        self._found.update(label for _, _, label in found)
        self._true.update(label for _, _, label in truth)

    def result(self) -> dict[str, Any]:
        """precision, recall and f1 over all spans, and of each label; None where there is nothing to divide by."""
        every = _rates(self._right.total(), self._found.total(), self._true.total())
        labels = sorted(self._found | self._true)
        of_labels = [{"label": each, **_rates(self._right[each], self._found[each], self._true[each])} for each in labels]
        return {**every, "labels": of_labels}


def _spans(answer: Any) -> set[Span]:
    return {(span.start, span.end, span.label) for span in answer}


def _rates(right: int, found: int, true: int) -> dict[str, Any]:
    return {
        "spans": true,
        "precision": right / found if found else None,
        "recall": right / true if true else None,
        "f1": 2 * right / (found + true) if found + true else None,
    }


def read_spans(text: str) -> set[Span]:
    """A JSON list of objects with start, end and label, as the column `spans` of a table has them. Raises `InputError`."""
    found = set()
    for each in listed(text, "spans", ("start", "end", "label")):
        start, end, label = each["start"], each["end"], each["label"]
        if type(start) is not int or type(end) is not int or not 0 <= start < end or not isinstance(label, str):
            raise InputError(f"a right span is {start!r} to {end!r}, {label!r}: give characters from 0, and a label")
        found.add((start, end, label))
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def render_spans(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    lines = [f"F1 {_percent(result['f1'])} of {result['spans']} spans that should be there, exactly as they should be"]
    lines.append(f"{'F1':>8} {'precision':>10} {'recall':>8} {'spans':>7}  label")
    for each in [{**result, "label": "(all)"}, *result["labels"]]:
        f1, precision, recall = (_percent(each[name]) for name in ("f1", "precision", "recall"))
        lines.append(f"{f1:>8} {precision:>10} {recall:>8} {each['spans']:>7}  {each['label']}")
    return lines


def span_distance(first: Any, second: Any) -> tuple[bool, dict[str, float]]:
    """Whether the spans are the same; how many only one of both has, and how far the scores of the others are apart."""
    scores = [{(span.start, span.end, span.label): span.score for span in each} for each in (first, second)]
    both = scores[0].keys() & scores[1].keys()
    alone = len(scores[0].keys() ^ scores[1].keys())
    apart = float(np.mean([abs(scores[0][span] - scores[1][span]) for span in both])) if both else 0.0
    return not alone, {"spans": float(alone), "score": apart}


class AnswerScore(Score):
    """How often the best answer is one of the right ones, and how many of its words they share, as SQuAD counts both.

    Where the data has questions without an answer, an empty answer may be given; where it has none, the best other is taken.
    """

    def __init__(self) -> None:
        self._exact: list[tuple[int, int]] = []  # of each question, with an empty answer allowed, and not
        self._f1: list[tuple[float, float]] = []
        self._unanswerable = 0

    def add(self, answer: Any, truth: list[str]) -> None:
        """Count an answer against all right ones; an empty one says that there is none."""
        self._unanswerable += not any(map(normalized, truth))
        texts = (answer[0].text if answer else "", best_text(answer))
        exact = [int(any(normalized(text) == normalized(right) for right in truth)) for text in texts]
        shared = [max(word_f1(text, right) for right in truth) for text in texts]
        self._exact.append((exact[0], exact[1]))
        self._f1.append((shared[0], shared[1]))

    def result(self) -> dict[str, Any]:
        """exact_match with its 95 % interval, and f1."""
        side = 0 if self._unanswerable else 1
        right, total = sum(pair[side] for pair in self._exact), len(self._exact)
        return {
            "questions": total,
            "without_answer": self._unanswerable,
            "exact_match": right / total,
            "exact_match_interval": list(wilson(right, total)),
            "f1": float(np.mean([pair[side] for pair in self._f1])),
        }


def normalized(text: str) -> str:
    """In lower case, without punctuation, articles and white space beyond one space: SQuAD's own normalisation."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_LEFT_OUT)).split())


def word_f1(text: str, right: str) -> float:
    """The harmonic mean of precision and recall of words, each as often as it is there; 1 where both are empty."""
    found, true = normalized(text).split(), normalized(right).split()
    if not found or not true:
        return float(found == true)
    return 2 * (Counter(found) & Counter(true)).total() / (len(found) + len(true))


def best_text(answer: Any) -> str:
    """The best answer that is not empty."""
    return next((each.text for each in answer if each.text), "")


def read_answers(text: str) -> list[str]:
    """A right answer, or several in a JSON list of texts; an empty one where the text has none. Raises `InputError`."""
    if not text.lstrip().startswith('["'):
        return [text]
    found = listed(text, "answers", None)
    if not all(isinstance(each, str) for each in found):
        raise InputError("the right answers are a list of something else than texts")
    return found


def render_answers(result: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    low, high = result["exact_match_interval"]
    lines = [f"exact match {result['exact_match']:.1%}, between {low:.1%} and {high:.1%} with 95 % confidence"]
    lines.append(f"F1 of words {result['f1']:.1%}, over {result['questions']} questions")
    if result["without_answer"]:
        lines.append(f"{result['without_answer']} have no answer in their text; an empty answer was allowed")
    return lines


def answer_distance(first: Any, second: Any) -> tuple[bool, dict[str, float]]:
    """Whether the best answers are at the same place; how far their scores are apart."""
    (a, b) = (next((each for each in answer if each.text), None) for answer in (first, second))
    if a is None or b is None:
        return a is b, {"score": 0.0}
    return (a.start, a.end) == (b.start, b.end), {"score": abs(a.score - b.score)}


LABELLED_SPANS = Metric(
    truth="spans",
    read_truth=read_spans,
    score=lambda pipeline: SpanScore(sorted(pipeline.scheme.span_labels())),
    render=render_spans,
    distance=span_distance,
)
ANSWERS = Metric(
    truth="answer",
    read_truth=read_answers,
    score=lambda pipeline: AnswerScore(),
    render=render_answers,
    distance=answer_distance,
    options={"top_k": 2, "allow_none": True},  # the best, and the best that is not empty
)
