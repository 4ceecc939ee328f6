"""Masked bytes on a device: a text with `[MASK]` in it, what may stand there out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import groupby
from typing import overload

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.text import TextProcessor, from_bytes
from perceiver_runtime.tasks.calls import whole_call
from perceiver_runtime.tasks.fill_mask.byte_search import best_sequences, search
from perceiver_runtime.tasks.fill_mask.spans import Candidate, MaskedSpan, MaskedSpans
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.labels import softmax
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, RuntimeOptions


class FillMaskPipeline(Pipeline):
    """What masked bytes may have been.

    >>> mlm = perceiver_runtime.load("fill-mask")
    >>> spans = mlm("This is an incomplete sentence where some words are[MASK*9]", top_k=3)
    >>> spans[0].candidates[0].text
    ' missing.'

    The model works on bytes: `[MASK]` is one byte, `[MASK*9]` nine in a row. Mask the space before a word too. Only masked
    positions are decoded.
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = TextProcessor.from_json(bundle.manifest.processor)
        self._written = self.processor.vocabulary.written
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(
        self,
        texts: str,
        *,
        top_k: int = 5,
        spans: Sequence[tuple[int, int]] | None = None,
        beams: int | None = None,
        truncate: bool = False,
    ) -> MaskedSpans: ...

    @overload
    def __call__(
        self,
        texts: list[str] | Iterator[str],
        *,
        top_k: int = 5,
        spans: None = None,
        beams: int | None = None,
        truncate: bool = False,
    ) -> list[MaskedSpans]: ...

    def __call__(
        self,
        texts: str | list[str] | Iterator[str],
        *,
        top_k: int = 5,
        spans: Sequence[tuple[int, int]] | None = None,
        beams: int | None = None,
        truncate: bool = False,
    ) -> MaskedSpans | list[MaskedSpans]:
        """The masked spans of a text, or of each of a list or generator, with `top_k` candidates each, the most probable first.

        Each byte is chosen by itself, in one run. With `beams` bytes are found one after the other, the likeliest `beams`
        texts being kept: better words, for a run per byte (byte_search.py); other spans stay masked meanwhile.
        `spans` masks the bytes start to end (not included) of a text, in addition. A text longer than the model's positions
        raises `InputError`, or with `truncate` loses its end; so do a text without a mask and an empty one.
        """
        batch, many = TEXT.items(texts)
        top_k = whole_number("top_k", top_k, InputError)
        if beams is not None and whole_number("beams", beams, InputError) < top_k:
            raise InputError(f"beams is {beams}, but {top_k} candidates are wanted: give at least {top_k}, or a smaller top_k")
        if spans is not None and many:
            raise InputError("spans are of one text: call with one text at a time, or write [MASK*n] into the texts")
        with self.timing.stage("preprocess"):
            rows = [self._item(number, text, batch, spans or (), truncate=truncate) for number, text in enumerate(batch, 1)]
            if not rows:
                raise InputError("the list of texts is empty: give at least one")
        positions = [[place for place, number in enumerate(ids) if number == tokenizer.MASK] for ids in rows]
        if beams is not None:
            found = [
                self._spans(ids, where, [self._searched(ids, run, beams, top_k) for run in _runs(where)])
                for ids, where in zip(rows, positions)
            ]
            return found if many else found[0]
        logits = self._logits(rows, positions)
        with self.timing.stage("postprocess"):
            results = [
                self._spans(
                    ids,
                    where,
                    [self._span(run, self._best(own[[where.index(place) for place in run]], top_k)) for run in _runs(where)],
                )
                for ids, where, own in zip(rows, positions, logits)
            ]
        return results if many else results[0]

    @whole_call
    def fill(self, text: str, *, truncate: bool = False) -> str:
        """The text with the best candidate in each masked span."""
        ids = self._masked(text, (), truncate=truncate)
        places = [place for place, number in enumerate(ids) if number == tokenizer.MASK]
        best = self._written[self._logits([ids], [places])[0][:, self._written].argmax(axis=-1)]
        for place, number in zip(places, best):
            ids[place] = int(number)
        return self.processor.decode(ids)

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `text`; output `logits` (K, V) at its masks."""
        ids = self._masked(from_bytes(inputs["text"]), (), truncate=False)
        places = [place for place, number in enumerate(ids) if number == tokenizer.MASK]
        return {"logits": self._logits([ids], [places])[0]}

    def _best(self, logits: Floats, top_k: int) -> list[tuple[list[int], float]]:
        return best_sequences(softmax(logits), top_k, self._written)

    def _searched(self, ids: Sequence[int], places: Sequence[int], beams: int, top_k: int) -> MaskedSpan:
        return self._span(places, search(ids, places, self._logits, beams=beams, written=self._written)[:top_k])

    def _span(self, positions: Sequence[int], found: Sequence[tuple[list[int], float]]) -> MaskedSpan:
        candidates = tuple(Candidate(self.processor.decode(numbers), probability) for numbers, probability in found)
        return MaskedSpan(positions[0] - 1, positions[-1], candidates)

    def _spans(self, ids: Sequence[int], positions: Sequence[int], spans: list[MaskedSpan]) -> MaskedSpans:
        """The spans of a text with the pieces of text around them."""
        runs = _runs(positions)
        starts = [1, *(run[-1] + 1 for run in runs)]
        ends = [*(run[0] for run in runs), len(ids) - 1]
        return MaskedSpans(spans, [self.processor.decode(ids[start:end]) for start, end in zip(starts, ends)])

    def _item(self, number: int, text: str, batch: Sized, spans: Sequence[tuple[int, int]], *, truncate: bool) -> list[int]:
        """`_masked`, whose error says which text of several is wrong."""
        try:
            return self._masked(text, spans, truncate=truncate)
        except InputError as error:
            raise error if len(batch) == 1 else InputError(f"text {number} of {len(batch)}: {error}") from error

    def _masked(self, text: str, spans: Sequence[tuple[int, int]], *, truncate: bool) -> list[int]:
        """The text's ids, spans masked. Raises `InputError`."""
        ids = self.processor.encode(text, truncate=truncate)
        length = len(ids) - 2
        for start, end in spans:
            if not 0 <= start < end <= length:
                raise InputError(f"the span {start} to {end} is not inside the text, which has bytes 0 to {length}")
            ids[1 + start : 1 + end] = [tokenizer.MASK] * (end - start)
        if tokenizer.MASK not in ids:
            raise InputError("the text has no mask: write [MASK], or [MASK*9] for nine bytes, where something is missing")
        return ids

    def _logits(self, rows: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> list[Floats]:
        """The logits (K, V) at each row's positions."""
        pairs = self.batches(list(zip(rows, positions)))
        return [own for part in pairs for own in self._batch_logits([row for row, _ in part], [where for _, where in part])]

    def _batch_logits(self, rows: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> list[Floats]:
        input_ids, attention_mask = tokenizer.pad(rows)
        latents = self.encode_inputs({"input_ids": input_ids, "attention_mask": attention_mask}, (len(rows), None, None))[0]
        queries = np.zeros((len(rows), max(map(len, positions))), np.int64)  # rows with fewer masks repeat position 0
        for row, where in enumerate(positions):
            queries[row, : len(where)] = where
        logits = self.run(
            "decode", {"latents": latents, "query_positions": queries}, shape=(*queries.shape, self.processor.vocabulary.size)
        )
        return [own[: len(where)] for own, where in zip(logits, positions)]


def _runs(positions: Sequence[int]) -> list[list[int]]:
    """Neighbouring positions together."""
    grouped = groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0])
    return [[place for _, place in group] for _, group in grouped]
