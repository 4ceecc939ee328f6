"""Labels of bytes to spans, as transformers' pipeline makes them of tokens; windows over long texts."""

import itertools
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

import perceiver_runtime as pr
from perceiver_runtime.processing.heads.text_windows import most_context, windows
from perceiver_runtime.processing.heads.token_labels import TokenScheme, byte_offsets, scheme_of

NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXT = "Anna Lee met Bo in  New York, not Rome."


def probabilities(text: str, names: tuple[str, ...], seed: int) -> Any:
    """Runs of labels, as trained models have them, with noise: (bytes, labels)."""
    random = np.random.default_rng(seed)
    length = len(text.encode())
    logits = random.normal(size=(length, len(names)))
    logits[np.arange(length), np.repeat(random.integers(0, len(names), length), random.integers(1, 6, length))[:length]] += 3
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def grouped(text: str, scores: Any, names: tuple[str, ...], strategy: str) -> list[tuple[str, int, int, float]]:
    """What transformers' pipeline makes of a text of one-byte characters; a word begins after white space."""
    pipeline = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    pipeline.tokenizer = SimpleNamespace(convert_tokens_to_string="".join)  # type: ignore[assignment]
    pipeline.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(names))))  # type: ignore[assignment]
    words = strategy != "simple"
    entities = [
        {"word": letter, "scores": scores[place], "start": place, "end": place + 1, "index": place,
         "is_subword": place > 0 and not text[place - 1].isspace()}
        for place, letter in enumerate(text) if not (words and letter.isspace())
    ]  # fmt: skip
    found = pipeline.aggregate(entities, AggregationStrategy(strategy))
    inside = [each for each in found if each["entity_group"] != "O"]
    return [(each["entity_group"], each["start"], each["end"], float(each["score"])) for each in inside]


@pytest.mark.parametrize("names", [NAMES, ("O", "date", "time")])
@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_spans_are_those_of_transformers(strategy: str, names: tuple[str, ...]) -> None:
    scheme = TokenScheme(names, scheme_of(names, "O"), "O")
    count = 0
    for seed in range(20):
        scores = probabilities(TEXT, names, seed)
        found, expected = scheme.spans(TEXT, scores, strategy), grouped(TEXT, scores, names, strategy)
        assert [(run.label, run.start, run.end) for run in found] == [each[:3] for each in expected]
        np.testing.assert_allclose([run.score for run in found], [each[3] for each in expected], rtol=1e-6)
        count += len(found)
        if strategy == "simple":  # the control: without prefixes other spans come out, where there are prefixes
            other = TokenScheme(names, "plain", "O").spans(TEXT, scores, strategy)
            assert (names is not NAMES) == ([run.label for run in other] == [run.label for run in found])
    assert count > 40


def test_schemes() -> None:
    def spans(labels: str, scheme: str) -> list[tuple[str, int, int]]:
        names = tuple(dict.fromkeys(["O", *labels.split()]))
        scores = np.eye(len(names), dtype=np.float32)[[names.index(label) for label in labels.split()]]
        return [run[2:3] + run[:2] for run in TokenScheme(names, scheme, "O").spans("x" * len(scores), scores)]

    assert spans("O B-A I-A B-A I-B O", "iob2") == [("A", 1, 3), ("A", 3, 4), ("B", 4, 5)]
    assert spans("I-A I-A O", "iob2") == [("A", 0, 2)]  # nothing began it: transformers' answer too
    assert spans("B-A I-A E-A I-A S-A S-A", "bioes") == [("A", 0, 3), ("A", 3, 4), ("A", 4, 5), ("A", 5, 6)]
    assert spans("B-A L-A U-A", "bilou") == [("A", 0, 2), ("A", 2, 3)]
    assert spans("A A B", "plain") == [("A", 0, 2), ("B", 2, 3)]
    assert spans("E-mail E-mail", "iob2") == [("E-mail", 0, 2)]


def test_spans_are_whole_characters() -> None:
    text = "a東é🤖b"
    assert byte_offsets(text).tolist() == [0, 1, 4, 6, 10, 11]
    labels = [0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0]  # inside 東 and 🤖 bytes disagree: the first decides
    (run,) = TokenScheme(("O", "X"), "plain", "O").spans(text, np.eye(2, dtype=np.float32)[labels])
    assert text[run.start : run.end] == "東é"


@pytest.mark.parametrize(("length", "room", "overlap"), [(5, 9, 2), (100, 20, 5), (101, 16, 0), (300, 62, None), (7, 2, 1)])
def test_windows_cover_a_text(length: int, room: int, overlap: int | None) -> None:
    text = ("é東🤖ab" * length)[:length]
    content = text.encode()
    parts = windows(content, room, overlap)
    assert (parts[0].start, parts[-1].stop) == (0, len(content))
    assert all(0 < part.stop - part.start <= room for part in parts)
    assert all(after.start <= before.stop and after.start > before.start for before, after in pairwise(parts))
    if room > 8:
        assert all(content[part.start : part.stop].decode() for part in parts)  # whole characters
    chosen = most_context(len(content), parts)
    assert all(parts[number].start <= place < parts[number].stop for place, number in enumerate(chosen))


def test_most_context() -> None:
    assert most_context(12, windows(b"x" * 12, 8, 4)).tolist() == [0] * 6 + [1] * 6
    with pytest.raises(pr.InputError, match="the overlap is 8: give bytes from 0 to 3"):
        windows(b"x" * 20, 8, 8)


def test_viterbi_finds_the_likeliest_labels_where_changes_cost() -> None:
    """As trying every sequence does; one odd character does not cut a span, and going on with a span costs nothing."""
    text, scheme = "abcdef", TokenScheme(NAMES[:3], "iob2", "O")
    for seed in range(10):
        scores = np.log(probabilities(text, NAMES[:3], seed))
        costs = scheme.change_costs()

        def total(labels: tuple[int, ...], scores: Any = scores, costs: Any = costs) -> float:
            steps = sum(costs[one, other] for one, other in pairwise(labels))
            return float(sum(row[label] for row, label in zip(scores, labels)) - steps)

        best = max(itertools.product(range(3), repeat=len(text)), key=total)
        single = np.eye(3, dtype=np.float32)[list(best)] + 1e-3
        assert scheme.spans(text, np.exp(scores), "viterbi") == [
            run._replace(
                score=pytest.approx(np.mean([np.exp(scores[place, best[place]]) for place in range(run.start, run.end)]))
            )
            for run in scheme.spans(text, single)
        ]
    odd = np.array([[0.1, 0.9]] * 3 + [[0.6, 0.4]] + [[0.1, 0.9]] * 3, np.float32)
    plain = TokenScheme(("O", "date"), "plain", "O")
    assert [(run.start, run.end) for run in plain.spans("1.2.034", odd, "viterbi")] == [(0, 7)]
    assert [(run.start, run.end) for run in plain.spans("1.2.034", odd)] == [(0, 3), (4, 7)]
    assert scheme.change_costs().tolist() == [[0, 2, 2], [2, 2, 0], [2, 2, 0]]
