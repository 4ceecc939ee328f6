"""How spans, answers and boxes are scored: values of seqeval, of SQuAD's own rules, and of pycocotools."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

import perceiver_runtime as pr
from perceiver_runtime.processing.heads.token_labels import TokenScheme
from perceiver_runtime.tasks.metrics.boxes import BOXES, BoxScore, TrueObject, distance, read_objects
from perceiver_runtime.tasks.metrics.parts import (
    AnswerScore,
    SpanScore,
    answer_distance,
    read_answers,
    read_spans,
    span_distance,
)

LABELS = ["LOC", "PER"]


def spans(text: str, *found: tuple[int, int, str]) -> pr.TextSpans:
    return pr.TextSpans([pr.TextSpan(label, text[a:b], a, b, a, b, 0.9) for a, b, label in found], text)


def drawn(rng: Any) -> list[tuple[int, int, str]]:
    """Spans of a text of 40 characters, apart from one another."""
    starts = np.flatnonzero(rng.random(8) < 0.6) * 5
    return [(int(a), int(a + rng.integers(1, 4)), LABELS[rng.integers(2)]) for a in starts]


def test_spans_are_scored_as_seqeval_does() -> None:
    rng, score = np.random.default_rng(0), SpanScore(LABELS)
    for _ in range(30):
        truth = drawn(rng)
        found = [each for each in truth if rng.random() < 0.7] + [(39, 40, "PER")] * int(rng.integers(2))
        score.add(
            spans("x" * 40, *found), read_spans(json.dumps([dict(zip(("start", "end", "label"), each)) for each in truth]))
        )
    result = score.result()
    found_by_seqeval = {"precision": 0.8165137614678899, "recall": 0.664179104477612, "f1": 0.7325102880658436}  # strict, IOB2
    assert {name: result[name] for name in found_by_seqeval} == pytest.approx(found_by_seqeval)
    assert [each["label"] for each in result["labels"]] == LABELS
    assert sum(each["spans"] for each in result["labels"]) == result["spans"] == 134


def test_spans_that_cannot_be_scored() -> None:
    score = SpanScore(sorted(TokenScheme(("O", "B-PER", "I-PER", "B-LOC"), "iob2", "O").span_labels()))
    score.add(spans("abc"), set())
    assert score.result() == {"spans": 0, "precision": None, "recall": None, "f1": None, "labels": []}
    for truth, message in (
        ('[{"start": 0, "end": 1, "label": "ORG"}]', "'ORG' is none of the bundle's 2 labels, which begin with LOC, PER"),
        ('[{"start": 0, "end": 4, "label": "PER"}]', "a right span ends at 4, the text has 3 characters"),
        ('[{"start": 1, "end": 1, "label": "PER"}]', "a right span is 1 to 1, 'PER': give characters from 0"),
        ('[{"start": 1, "label": "PER"}]', "give a JSON list of objects with start, end, label"),
        ("PER", "no JSON list: give one, as --csv writes them"),
    ):
        with pytest.raises(pr.InputError, match=message):
            score.add(spans("abc"), read_spans(truth))
    assert span_distance(spans("abc", (0, 1, "PER")), spans("abc", (0, 1, "PER"))) == (True, {"spans": 0.0, "score": 0.0})
    assert span_distance(spans("abc", (0, 1, "PER")), spans("abc", (0, 2, "PER")))[1]["spans"] == 2


def answers(*texts: str) -> pr.TextAnswers:
    return pr.TextAnswers(pr.TextAnswer(text, 0, len(text), 0, len(text), 0.5) for text in texts)


def test_answers_are_scored_as_squad_does() -> None:
    """Case, punctuation and articles do not count; the best of several right answers does; words count as often as there."""
    for found, right, exact, f1 in (
        ("The  Denver Broncos!", "denver broncos", 1, 1.0),
        ("the Broncos of Denver", '["Denver Broncos", "Broncos"]', 0, 0.8),
        ("a cat a cat", "cat", 0, 2 / 3),
        ("theatre", "atre", 0, 0.0),
        ("The", "an", 1, 1.0),
    ):
        score = AnswerScore()
        score.add(answers(found), read_answers(right))
        assert (score.result()["exact_match"], score.result()["f1"]) == (exact, pytest.approx(f1)), found
    assert read_answers("[1] and more") == ["[1] and more"]
    with pytest.raises(pr.InputError, match="a list of something else than texts"):
        read_answers('["a", 1]')


def test_questions_without_an_answer() -> None:
    """An empty answer counts only where the data has such questions."""
    score = AnswerScore()
    score.add(answers("", "Anna"), ["Anna"])
    assert score.result()["exact_match"] == 1
    score.add(answers("", "Anna"), [""])
    assert score.result() | {"exact_match_interval": 0} == {
        "questions": 2, "without_answer": 1, "exact_match": 0.5, "exact_match_interval": 0, "f1": 0.5
    }  # fmt: skip
    assert answer_distance(answers("", "Anna"), answers("Anna"))[0] is True
    assert answer_distance(answers("Anna"), answers("An"))[0] is False


def boxes(rng: Any, count: int) -> Any:
    corner = rng.random((count, 2)) * 80
    return np.concatenate([corner, corner + 15 + rng.random((count, 2)) * 30], axis=1)


def pictures() -> list[tuple[list[TrueObject], list[pr.DetectedObject]]]:
    """Twenty pictures: true objects, and some of them found, a little off, among others that are not there."""
    rng, made = np.random.default_rng(0), []
    for _ in range(20):
        truth = [TrueObject(LABELS[rng.integers(2)], tuple(box)) for box in boxes(rng, int(rng.integers(0, 6)))]
        near = [(each.label, np.array(each.box) + rng.uniform(-6, 6, 4)) for each in truth if rng.random() < 0.8]
        near += [(LABELS[rng.integers(2)], box) for box in boxes(rng, int(rng.integers(0, 4)))]
        found = [pr.DetectedObject(label, float(rng.random()), tuple(map(float, box))) for label, box in near]
        made.append((truth, sorted(found, key=lambda each: -each.score)))
    return made


def test_boxes_are_scored_as_coco_does() -> None:
    score = BoxScore(["PER", "LOC", "cup"])
    for truth, found in pictures():
        score.add(pr.DetectedObjects(found), truth)
    result = score.result()
    assert result["map_50"] == pytest.approx(0.5714905532246825, abs=1e-12)  # pycocotools: stats[1]
    assert {each["label"]: each["ap_50"] for each in result["labels"]} == pytest.approx({"PER": 0.60772874, "LOC": 0.53525237})


def test_boxes_that_cannot_be_scored() -> None:
    with pytest.raises(pr.InputError, match="'dog' is none of the bundle's 1 labels"):
        BoxScore(["cat"]).add([], read_objects('[{"label": "dog", "box": [0, 0, 1, 1]}]'))
    with pytest.raises(pr.InputError, match="x0, y0, x1, y1 with x0 < x1"):
        read_objects('[{"label": "dog", "box": [3, 0, 1, 1]}]')
    empty = BoxScore(["cat"])
    empty.add([], [])
    assert "the data has no objects" in BOXES.render(empty.result())[0]
    one, other = (pr.DetectedObjects([pr.DetectedObject("a", 0.9, (0.0, 0.0, 10.0, side))]) for side in (10.0, 4.0))
    assert distance(one, one) == (True, {"objects_alone": 0.0})
    assert distance(one, other) == (False, {"objects_alone": 2.0})


def test_notebooks_show_them() -> None:
    """Escaped; boxes on their picture where there is one, which no pickle holds."""
    text = "<b>Anna</b> & Bo"
    html = spans(text, (3, 7, "<PER>"))._repr_html_()
    assert html.startswith('<span style="white-space: pre-wrap">&lt;b&gt;<mark')
    assert ">Anna</mark><sub>&lt;PER&gt;</sub>&lt;/b&gt; &amp; Bo</span>" in html
    assert "<td>&lt;i&gt;</td><td>0.5</td>" in answers("<i>")._repr_html_()
    cat = pr.DetectedObject("<cat>", 0.9, (1.0, 2.0, 30.0, 40.0))
    assert "<td>&lt;cat&gt;</td><td>0.9</td><td>1, 2, 30, 40</td>" in (pr.DetectedObjects([cat])._repr_html_() or "")
    shown = pr.DetectedObjects([cat], np.zeros((50, 60, 3), np.uint8))
    assert (shown._repr_png_() or b"").startswith(b"\x89PNG")
    assert shown._repr_html_() is None
    again = pickle.loads(pickle.dumps(shown))
    assert (again, type(again), again.image) == (shown, pr.DetectedObjects, None)
    found = pickle.loads(pickle.dumps(spans(text, (3, 7, "PER"))))
    assert (found.text, found.to_dict()["spans"][0]["label"]) == (text, "PER")
