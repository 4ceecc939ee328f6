"""Text classification on a device: texts in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.text import Text, TextProcessor, from_bytes
from perceiver_runtime.tasks.kinds.text import TEXT
from perceiver_runtime.tasks.labels import Labels, LabelScores
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, RuntimeOptions


class TextClassificationPipeline(Pipeline):
    """Labels of texts.

    >>> classify = perceiver_runtime.load("text-classification")
    >>> classify("a large feline of forests in most of Asia", top_k=1)
    [LabelScore(label='noun.animal', probability=0.9)]
    """

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.processor = TextProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    @overload
    def __call__(
        self, texts: str, *, pair: str | None = None, top_k: int = 5, truncate: bool = False, plain: bool = False
    ) -> LabelScores: ...

    @overload
    def __call__(
        self,
        texts: list[Text] | Iterator[Text],
        *,
        pair: None = None,
        top_k: int = 5,
        truncate: bool = False,
        plain: bool = False,
    ) -> list[LabelScores]: ...

    def __call__(
        self,
        texts: str | list[Text] | Iterator[Text],
        *,
        pair: str | None = None,
        top_k: int = 5,
        truncate: bool = False,
        plain: bool = False,
    ) -> LabelScores | list[LabelScores]:
        """The `top_k` best labels of a text (with a second one, `pair`), or of each of a list or generator of texts and pairs.

        A text longer than the model's positions raises `InputError`, or with `truncate` loses its end. `[MASK]` and the other
        special tokens are read as such, as transformers does, but not in `plain` texts: take that for texts of strangers.
        """
        if isinstance(texts, tuple):
            raise InputError("a tuple may be a pair or two texts: give a list of texts, or a text and pair=")
        items, many = TEXT.items(texts)
        if pair is not None and many:
            raise InputError("pair= goes with one text: in a list, give tuples of two texts")
        items = items if pair is None else [(items[0], pair)]
        logits = self._logits(items, truncate=truncate, plain=plain)
        with self.timing.stage("postprocess"):
            results = [self.labels.scores(row, top_k) for row in logits]
        return results if many else results[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `text`; output `logits` (labels,)."""
        return {"logits": self._logits([from_bytes(inputs["text"])], truncate=False, plain=False)[0]}

    def _logits(self, texts: Sequence[Text], *, truncate: bool, plain: bool) -> Floats:
        with self.timing.stage("preprocess"):
            rows = self.processor.encode_all(texts, truncate=truncate, plain=plain)
        return np.concatenate([self._batch_logits(part) for part in self.batches(rows)])

    def _batch_logits(self, rows: Sequence[Sequence[int]]) -> Floats:
        with self.timing.stage("preprocess"):
            input_ids, attention_mask = tokenizer.pad(rows)
        latents = self.encode_inputs({"input_ids": input_ids, "attention_mask": attention_mask}, (len(rows), None, None))[0]
        return self.run("decode", {"latents": latents}, shape=(len(rows), len(self.labels.names)))
