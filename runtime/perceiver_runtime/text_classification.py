"""Text classification on a device: texts in, labels with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np

from perceiver_runtime.arrays import Array
from perceiver_runtime.bundle import Bundle
from perceiver_runtime.classification import Labels, LabelScore
from perceiver_runtime.errors import InputError
from perceiver_runtime.pipeline import Floats, Pipeline, Placement
from perceiver_runtime.text_processing import Text, TextProcessor, from_bytes


class TextClassificationPipeline(Pipeline):
    """Labels of texts.

    >>> classify = perceiver_runtime.load("text-classification")
    >>> classify("a large feline of forests in most of Asia", top_k=1)
    [LabelScore(label='noun.animal', probability=0.9)]
    """

    def __init__(self, bundle: Bundle, placement: Placement) -> None:
        self.processor = TextProcessor.from_json(bundle.manifest.processor)
        self.labels = Labels.of(bundle)
        super().__init__(bundle, placement)

    @overload
    def __call__(self, texts: Text, *, top_k: int = 5, truncate: bool = False) -> list[LabelScore]: ...

    @overload
    def __call__(self, texts: list[Text], *, top_k: int = 5, truncate: bool = False) -> list[list[LabelScore]]: ...

    def __call__(
        self, texts: Text | list[Text], *, top_k: int = 5, truncate: bool = False
    ) -> list[LabelScore] | list[list[LabelScore]]:
        """The `top_k` best labels of a text, or of each of a list, best first; a tuple of two texts is a pair.

        A text longer than the model's positions raises `InputError`, or with `truncate` loses its end.
        """
        single = not isinstance(texts, list)
        logits = self._logits([texts] if single else texts, truncate=truncate)  # type: ignore[list-item]
        with self.timing.stage("postprocess"):
            results = [self.labels.scores(row, top_k) for row in logits]
        return results[0] if single else results

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `text`; output `logits` (labels,)."""
        return {"logits": self._logits([from_bytes(inputs["text"])], truncate=False)[0]}

    def _logits(self, texts: Sequence[Text], *, truncate: bool) -> Floats:
        if not texts:
            raise InputError("the list of texts is empty: give at least one")
        return np.concatenate([self._batch_logits(part, truncate=truncate) for part in self.batches(texts)])

    def _batch_logits(self, texts: Sequence[Text], *, truncate: bool) -> Floats:
        with self.timing.stage("preprocess"):
            input_ids, attention_mask = self.processor.batch(texts, truncate=truncate)
        latents = self.encode({"input_ids": input_ids, "attention_mask": attention_mask}, (len(texts), None, None))[0]
        return self.run("decode", {"latents": latents}, shape=(len(texts), len(self.labels.names)))
