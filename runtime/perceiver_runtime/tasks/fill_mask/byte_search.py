"""The likeliest bytes for masked ones: each chosen for itself, or by a beam search one after the other, knowing those before.

Bytes chosen each for itself may be right alone and wrong together ("for" and "the" give "foe"). In the search the surest byte
of each beam is filled in, the model is asked again, and the likeliest beams are kept, until no byte is masked.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.processing import tokenizer
from perceiver_runtime.tasks.labels import softmax
from perceiver_runtime.tasks.pipeline import Floats

Logits = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], list[Floats]]  # rows, positions of each → (K, V) of each


def search(
    ids: Sequence[int], places: Sequence[int], logits: Logits, *, beams: int, written: NDArray[np.int64]
) -> list[tuple[list[int], float]]:
    """The likeliest ids found for `places` of `ids` and their probabilities, best first: at most `beams`.

    `written` are the ids to choose from. Runs the model once per place, on as many texts as there are beams.
    """
    found: list[tuple[list[int], float]] = [(list(ids), 0.0)]  # with the logarithm of the probability
    for _ in places:
        rows = [row for row, _ in found]
        masked = [[place for place in places if row[place] == tokenizer.MASK] for row in rows]
        grown: dict[tuple[int, ...], float] = {}
        for (row, score), where, own in zip(found, masked, logits(rows, masked)):
            probabilities = softmax(own)[:, written].astype(np.float64)
            surest = int(probabilities.max(axis=1).argmax())
            for byte in np.argsort(-probabilities[surest], kind="stable")[:beams]:
                filled = [*row[: where[surest]], int(written[byte]), *row[where[surest] + 1 :]]
                chance = score + float(np.log(max(probabilities[surest, byte], 1e-300)))
                grown[tuple(filled)] = max(chance, grown.get(tuple(filled), -np.inf))
        best = sorted(grown.items(), key=lambda item: -item[1])[:beams]
        found = [(list(row), score) for row, score in best]
    return [([row[place] for place in places], float(np.exp(score))) for row, score in found]


def best_sequences(probabilities: Floats, top_k: int, written: NDArray[np.int64]) -> list[tuple[list[int], float]]:
    """The `top_k` most probable sequences of bytes, as ids, where each position is independent of the others.

    probabilities (n, V), `written` the ids to choose from. Best first: from a sequence, the next ones differ by the next best
    byte at one position.
    """
    scores = np.log(np.maximum(probabilities[:, written].astype(np.float64), 1e-300))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    ranked = np.take_along_axis(scores, order, axis=1)
    first = (0,) * len(scores)
    heap = [(-float(ranked[:, 0].sum()), first)]
    seen = {first}
    found: list[tuple[list[int], float]] = []
    while heap and len(found) < top_k:
        cost, ranks = heapq.heappop(heap)
        ids = [int(written[order[place, rank]]) for place, rank in enumerate(ranks)]
        found.append((ids, float(np.exp(-cost))))
        for place, rank in enumerate(ranks):
            following = (*ranks[:place], rank + 1, *ranks[place + 1 :])
            if rank + 1 < order.shape[1] and following not in seen:
                seen.add(following)
                heapq.heappush(heap, (cost + float(ranked[place, rank] - ranked[place, rank + 1]), following))
    return found
