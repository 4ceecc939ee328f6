"""Exporting masked bytes and classification of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from perceiver_deploy.tasks import samples
from perceiver_deploy.tasks.recipe import (
    Answer,
    Case,
    ClassificationRecipe,
    Graphs,
    Inputs,
    Recipe,
    agreement,
    rows,
    shape_text,
    tensors,
)
from perceiver_deploy.tasks.tokenizer_config import read_vocabulary
from perceiver_runtime import InputError
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.processing import tokenizer
from perceiver_runtime.processing.text import TextProcessor, to_bytes
from perceiver_runtime.processing.vocabulary import FIRST_ADDED
from perceiver_runtime.tasks.known_answer import Sample

TEXTS = (
    "A robot that sees where things go needs no map of where they were.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; 東京は晴れ。",
    "for i in range(10):\n    print(i ** 2)  # the squares, one a line\n",
)
MASKED_TEXT = "This is an incomplete sentence where some words are[MASK*9]"
QUERIES = 16  # masked bytes a text in a case


class TextRecipe(Recipe):
    """What both text tasks share: cases of text."""

    sample_files = "texts (.txt, one a line)"

    @cached_property
    def text(self) -> TextProcessor:
        """How the checkpoint reads texts. Raises `InputError` unless its tokens can be those that the runtime makes."""
        vocabulary = read_vocabulary(self.folder)
        size = self.config.text.vocab_size
        if size != vocabulary.size:
            raise InputError(
                f"the checkpoint has {size} tokens, its tokenizer {vocabulary.size} (bytes have {FIRST_ADDED}): it was trained "
                "with another tokenizer, or no file names its added tokens (tokenizer_config.json, added_tokens.json)"
            )
        return TextProcessor(self.config.text.max_positions, vocabulary)

    def processor(self) -> dict[str, Any]:
        """The constants that perceiver_runtime.processing.text.TextProcessor reads."""
        return self.text.to_json()

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""
        return {"B": Range(1, 64), "L": Range(1, self.config.text.max_positions)}

    def cases(self) -> Iterator[Case]:
        """One byte alone, a batch of three padded to different lengths, a sentence alone, the longest; two texts each."""
        limit = self.config.text.max_positions
        lengths = dict.fromkeys([3, min(37, limit), min(77, limit), limit])
        for number, length in enumerate(lengths):
            sequences = [self._sequence(text, length) for text in TEXTS]
            if number == 1:
                batch = _inputs([sequences[0], sequences[1][: length // 2 + 1], sequences[2][: length - 3]])
                yield Case(shape_text(batch), (batch,))
            else:
                alone = tuple(_inputs([sequence]) for sequence in sequences[:2])
                yield Case(f"{shape_text(alone[0])}, twice", alone)

    def _sequence(self, text: str, length: int) -> list[int]:
        """A text's ids after those of all added tokens, repeated and cut to `length`, `[CLS]` and `[SEP]` among them."""
        ids = [*range(FIRST_ADDED, self.config.text.vocab_size), *self.text.tokenize(text)]
        repeated = ids * (length // len(ids) + 1)
        return [tokenizer.CLS, *repeated[: length - 2], tokenizer.SEP]

    def read_samples(self, folder: Path) -> list[Inputs]:
        """Each line of the .txt files is a text; of one too long, the beginning."""
        limit = self.config.text.max_positions - 2
        ids = [self.text.tokenize(text)[:limit] for text in self.first(samples.texts(folder), folder)]
        return [_inputs([[tokenizer.CLS, *each, tokenizer.SEP]]) for each in ids]

    def sample_text(self, usual: str) -> str:
        """The checkpoint's own sample, else the `usual` one; its end, from a whole character, if the model takes no more."""
        file = self.sample_file("text.txt")
        text = file.read_text(encoding="utf-8").strip() if file else usual
        room = self.config.text.max_positions - 3
        while (excess := len(self.text.tokenize(text)) - room) > 0:
            text = text[max(1, excess // 4) :]  # a character has four bytes at most
        return text

    def encode(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """torch's latents (B, N, D)."""
        given = tensors(inputs)
        latents: torch.Tensor = model.encode(given["input_ids"], given["attention_mask"])
        return latents


class FillMaskRecipe(TextRecipe):
    """A text to what its masked bytes may be."""

    usage = '"some words are[MASK*9]"'
    limits: ClassVar[Mapping[str, float]] = {"bytes_agreeing": 0.9}

    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""
        return super().ranges() | {"O": Range(1, self.config.text.max_positions)}

    @torch.no_grad()
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """Latents, and logits at some positions of each text: (positions, vocabulary)."""
        latents = self.encode(model, inputs)
        logits = model.decode(latents, torch.from_numpy(_positions(inputs)))
        return {"latents": rows(latents.numpy()), "logits": rows(logits.numpy())}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs."""
        latents = graphs["encode"].run(inputs)[0]
        logits = graphs["decode"].run({"latents": latents, "query_positions": _positions(inputs)})[0]
        return {"latents": rows(latents), "logits": rows(logits)}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The logits from the fused graph, which gives all positions."""
        logits = graph.run(inputs)[0]
        return {"logits": rows(np.take_along_axis(logits, _positions(inputs)[..., None], axis=1))}

    def metrics(self, reference: Answer, found: Answer) -> dict[str, float]:
        """How many positions have the same most probable byte."""
        return {"bytes_agreeing": agreement(reference["logits"], found["logits"])}

    def sample(self, model: Any) -> Sample:
        """A sentence with masked bytes."""
        text = self.sample_text(MASKED_TEXT)
        ids = np.array([[tokenizer.CLS, *self.text.tokenize(text), tokenizer.SEP]])
        places = np.flatnonzero(ids[0] == tokenizer.MASK)
        with torch.no_grad():
            latents = model.encode(torch.from_numpy(ids))
            logits = model.decode(latents, torch.from_numpy(places)[None])[0].numpy()
        return Sample({"text": to_bytes(text)}, {"logits": logits})


class TextClassificationRecipe(TextRecipe, ClassificationRecipe):
    """A text to labels."""

    usage = '"a text"'

    def processor(self) -> dict[str, Any]:
        """The constants of the text, and how logits become probabilities."""
        return super().processor() | {"problem": self.config.problem}

    def sample(self, model: Any) -> Sample:
        """A sentence."""
        text = self.sample_text(TEXTS[0])
        ids = np.array([[tokenizer.CLS, *self.text.tokenize(text), tokenizer.SEP]])
        with torch.no_grad():
            logits = model(torch.from_numpy(ids))[0].numpy()
        return Sample({"text": to_bytes(text)}, {"logits": logits})


def _inputs(sequences: list[list[int]]) -> Inputs:
    input_ids, attention_mask = tokenizer.pad(sequences)
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def _positions(inputs: Inputs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Positions to decode, spread over each text: (B, O)."""
    batch, length = inputs["input_ids"].shape
    places = np.unique(np.linspace(0, length - 1, QUERIES).astype(np.int64))
    return np.tile(places, (batch, 1))
