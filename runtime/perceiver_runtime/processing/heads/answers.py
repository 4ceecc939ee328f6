"""Start and end logits to the best answers in a text. numpy alone.

An answer's score is the product of the probabilities of its first and its last token, each a softmax over the text and `[CLS]`,
which stands for no answer: what transformers' question answering computes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Candidate(NamedTuple):
    """Bytes from `start` to before `end`, and the score."""

    start: int
    end: int
    score: float


class Candidates(NamedTuple):
    """The best answers of a text, best first, and the score of there being none."""

    best: list[Candidate]
    none: float


def best_answers(logits: Floats, none: Floats, content: bytes, most: int, longest: int) -> Candidates:
    """The `most` best answers of at most `longest` bytes in a UTF-8 text, at whole characters.

    `logits` are (bytes, 2), start and end; `none` is (2,), those of `[CLS]`.
    """
    both = np.concatenate([none[None], logits]).astype(np.float64)
    powers = np.exp(both - both.max(axis=0))
    chances = powers / powers.sum(axis=0)
    start, end = chances[1:].T.copy()
    values = np.frombuffer(content, np.uint8)
    begins = (values & 0xC0) != 0x80
    start[~begins] = 0
    end[~np.append(begins[1:], True)] = 0
    found: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]] = []  # scores, starts, ends
    for length in range(1, min(longest, len(values)) + 1):
        scores = start[: len(start) - length + 1] * end[length - 1 :]
        places = np.argpartition(-scores, min(most, len(scores)) - 1)[:most]
        found.append((scores[places], places, places + length))
    scores, starts, ends = (np.concatenate(each) for each in zip(*found))
    order = np.lexsort((ends, starts, -scores))[:most]
    best = [Candidate(int(starts[place]), int(ends[place]), float(scores[place])) for place in order if scores[place] > 0]
    return Candidates(best, float(chances[0, 0] * chances[0, 1]))


def merged(windows: list[tuple[int, Candidates]], most: int) -> Candidates:
    """The best of several windows of a text, each with the byte that it begins at; the same answer counts once."""
    best: dict[tuple[int, int], Candidate] = {}
    for offset, found in windows:
        for start, end, score in found.best:
            place = (start + offset, end + offset)
            if place not in best or score > best[place].score:
                best[place] = Candidate(*place, score)
    return Candidates(sorted(best.values(), key=_order)[:most], min(found.none for _, found in windows))


def _order(candidate: Candidate) -> tuple[float, int, int]:
    return (-candidate.score, candidate.start, candidate.end)
