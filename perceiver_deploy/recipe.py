"""What exporting a task needs beside its graphs: constants of the bundle, cases to verify on, a known answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_runtime.known_answer import Sample
from perceiver_runtime.manifest import Range
from perceiver_runtime.onnx_backend import OnnxGraph

Array = NDArray[Any]
Inputs = dict[str, Array]
Answer = dict[str, Array]  # by output: (what differs, channels)
Graphs = Mapping[str, OnnxGraph]


@dataclass(frozen=True)
class ExportOptions:
    """Choices of an export that change its graphs."""

    fused: bool = False
    image_size: tuple[int, int] | None = None  # height, width; None: the checkpoint's


@dataclass(frozen=True)
class Case:
    """Inputs of the encode graph to compare on, one or more runs whose answers are put together."""

    name: str
    runs: tuple[Inputs, ...]


class Recipe(ABC):
    """One task's part of an export. `folder` is where the checkpoint's files are."""

    unit = ""  # of the outputs, for people
    usage = ""  # what follows `perceiver run BUNDLE`

    def __init__(self, config: Any, options: ExportOptions, folder: Path) -> None:
        self.config, self.options, self.folder = config, options, folder

    def graph_options(self) -> dict[str, Any]:
        """The keywords that the task's graphs are made with."""
        return {"fused": self.options.fused}

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the logits, where the task has them."""
        labels: tuple[str, ...] | None = getattr(self.config, "labels", None)
        return labels

    @abstractmethod
    def processor(self) -> dict[str, Any]:
        """The constants that the runtime's pipeline reads."""

    @abstractmethod
    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""

    @abstractmethod
    def cases(self) -> Iterator[Case]:
        """What to verify on: smallest, odd in a batch, typical, largest."""

    @abstractmethod
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """What torch says, the latents included."""

    @abstractmethod
    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """What the graphs say."""

    @abstractmethod
    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """What the one graph of the whole model says: the same without the latents."""

    @abstractmethod
    def sample(self, model: Any) -> Sample:
        """Inputs as a user gives them, and torch's answer."""

    def figures(self, reference: Answer, found: Answer) -> dict[str, float]:
        """The answer in the task's own terms, 0 to 1 where it is an agreement."""
        return {}


class ClassificationRecipe(Recipe):
    """What classifiers of anything share: latents to logits."""

    @abstractmethod
    def encode(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """torch's latents (B, N, D)."""

    @torch.no_grad()
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """Latents and logits (B, labels)."""
        latents = self.encode(model, inputs)
        return {"latents": rows(latents.numpy()), "logits": model.decoder(latents).numpy()}

    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """The same from the graphs."""
        latents = graphs["encode"].run(inputs)[0]
        return {"latents": rows(latents), "logits": graphs["decode"].run({"latents": latents})[0]}

    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """The logits from the fused graph."""
        return {"logits": graph.run(inputs)[0]}

    def figures(self, reference: Answer, found: Answer) -> dict[str, float]:
        """How many inputs have the same first label."""
        return {"top1_agreeing": agreement(reference["logits"], found["logits"])}


def rows(array: Array) -> Array:
    """(..., channels) → (all the rest, channels)."""
    return array.reshape(-1, array.shape[-1])


def tensors(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Arrays as tensors of their own memory."""
    return {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}


def agreement(reference: Array, found: Array) -> float:
    """The share of rows whose largest value is at the same place."""
    return float((reference.argmax(axis=-1) == found.argmax(axis=-1)).mean())


def shape_text(inputs: Inputs) -> str:
    """The inputs' shapes for people."""
    return ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in inputs.items() if name != "attention_mask")


def contiguous(array: Array) -> NDArray[np.float32]:
    """float32 in row-major order, as a graph takes it."""
    return np.ascontiguousarray(array, np.float32)
