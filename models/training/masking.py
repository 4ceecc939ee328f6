"""Texts to batches for masked bytes: which bytes are hidden, and what they were."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from perceiver_io.tasks.fill_mask import IGNORED
from perceiver_runtime.processing.tokenizer import CLS, MASK, PAD, SEP
from perceiver_runtime.processing.vocabulary import FIRST_BYTE

SHARE = 0.15  # of a text's bytes that are hidden
_WORD = re.compile(rb" ?[A-Za-z]+")


class Batch(NamedTuple):
    """input_ids, attention_mask (B, L); positions, labels (B, K): hidden places and the ids there, `IGNORED` beyond them."""

    input_ids: Tensor
    attention_mask: Tensor
    positions: Tensor
    labels: Tensor


def hidden_places(text: bytes, *, words: bool, generator: torch.Generator) -> list[int]:
    """Places of about `SHARE` of the bytes, at least one: scattered, or with `words` whole words with the space before."""
    wanted = max(1, round(SHARE * len(text)))
    spans = [match.span() for match in _WORD.finditer(text)] if words else []
    if not spans:
        return torch.randperm(len(text), generator=generator)[:wanted].tolist()
    places: list[int] = []
    for number in torch.randperm(len(spans), generator=generator).tolist():
        start, end = spans[number]
        if places and len(places) + end - start > wanted:
            break
        places += range(start, end)
    return places


def make_batch(texts: list[bytes], *, words: bool | None, generator: torch.Generator) -> Batch:
    """Hide bytes of each text, scattered or whole words; None: each text one or the other by chance."""
    rows, hidden = [], []
    for text in texts:
        whole = words if words is not None else bool(torch.rand(1, generator=generator) < 0.5)
        hidden.append(sorted(hidden_places(text, words=whole, generator=generator)))
        rows.append([CLS, *(byte + FIRST_BYTE for byte in text), SEP])
    length, most = max(map(len, rows)), max(map(len, hidden))
    input_ids = torch.full((len(texts), length), PAD)
    positions, labels = torch.zeros(len(texts), most, dtype=torch.int64), torch.full((len(texts), most), IGNORED)
    for row, (ids, places) in enumerate(zip(rows, hidden)):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        where = torch.tensor(places) + 1  # after [CLS]
        positions[row, : len(places)], labels[row, : len(places)] = where, input_ids[row, where]
        input_ids[row, where] = MASK
    return Batch(input_ids, (input_ids != PAD).long(), positions, labels)
