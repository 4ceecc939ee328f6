"""Exporting token classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from perceiver_deploy.tasks.recipe import Answer, Graphs, Inputs, agreement, rows, tensors
from perceiver_deploy.tasks.text import TEXTS, TextRecipe
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.text import to_bytes
from perceiver_runtime.tasks.known_answer import Sample


class TokenClassificationRecipe(TextRecipe):
    """A text to a label for each of its tokens."""

    usage = '"a text"'
    limits: ClassVar[Mapping[str, float]] = {"labels_agreeing": 0.98}

    def processor(self) -> dict[str, Any]:
        """The constants of the text, and how labels make spans."""
        names = ("scheme", "outside", "aggregation")
        return super().processor() | {"answer": {name: getattr(self.config, name) for name in names}}

    @torch.no_grad()
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """Latents, and logits of all tokens: (tokens, labels)."""
        given = tensors(inputs)
        latents, queries = model.encode(given["input_ids"], given["attention_mask"])
        return {"latents": rows(latents.numpy()), "logits": rows(model.decode(latents, queries).numpy())}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs."""
        latents, queries = graphs["encode"].run(inputs)
        logits = graphs["decode"].run({"latents": latents, "queries": queries})[0]
        return {"latents": rows(latents), "logits": rows(logits)}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The logits from the fused graph."""
        return {"logits": rows(graph.run(inputs)[0])}

    def metrics(self, reference: Answer, found: Answer) -> dict[str, float]:
        """How many tokens have the same label."""
        return {"labels_agreeing": agreement(reference["logits"], found["logits"])}

    @torch.no_grad()
    def sample(self, model: Any) -> Sample:
        """A sentence."""
        text = self.sample_text(TEXTS[0])
        ids = np.array([[tokenizer.CLS, *self.text.tokenize(text, plain=True), tokenizer.SEP]])
        return Sample({"text": to_bytes(text)}, {"logits": model(torch.from_numpy(ids))[0].numpy()})
