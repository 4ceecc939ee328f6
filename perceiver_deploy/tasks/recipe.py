"""What exporting a task needs beside its graphs: constants of the bundle, cases to verify on, a known answer."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from perceiver_deploy.tasks import samples
from perceiver_deploy.verification.rounding import rounding_noise
from perceiver_export.passes.table import ALL_PASSES
from perceiver_export.targets import TARGETS, Lowering, Precision, Target, TargetName
from perceiver_runtime import InputError, UsageError
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import Range
from perceiver_runtime.tasks.known_answer import Sample

Array = NDArray[Any]
T = TypeVar("T")
Inputs = dict[str, Array]
Answer = dict[str, Array]  # by output: (what differs, channels)
Graphs = Mapping[str, OnnxGraph]
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"  # which may have the other inside, as `image_processor`
SAMPLE_FOLDER = "sample"


@dataclass(frozen=True)
class ExportOptions:
    """Choices of an export that change its graphs."""

    fused: bool = False
    image_size: tuple[int, int] | None = None  # height, width; None: the checkpoint's
    precision: Precision = "fp32"
    target: TargetName = "ort"
    memory_budget: int = TARGETS["ort"].memory_budget  # bytes of a stored score matrix
    passes: tuple[str, ...] = ALL_PASSES
    samples: str | None = None  # a folder of the user's own inputs, to verify on
    allow_rounding: bool = False  # also where the checkpoint amplifies rounding beyond the usual cap
    calibration: str | None = None  # a folder of the user's own inputs, for the ranges of activations in 8 bits
    int8_limit: float | None = None  # what 8 bits may lose of the task's figure, in place of the recipe's limit

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExportOptions:
        """What `dataclasses.asdict` and JSON made of it."""
        size = data["image_size"]
        return cls(**{**data, "image_size": size and (size[0], size[1]), "passes": tuple(data["passes"])})


@dataclass(frozen=True)
class Case:
    """Inputs of the encode graph to compare on, one or more runs whose answers are put together."""

    name: str
    runs: tuple[Inputs, ...]
    own: int = 0  # how many of the runs, the first ones, are inputs of the user's


class Recipe(ABC):
    """One task's part of an export. `folder` is where the checkpoint's files are."""

    unit = ""  # of the outputs, for people
    sample_files = ""  # that `read_samples` takes, for people
    usage = ""  # what follows `perceiver run BUNDLE`
    any_checkpoint = False  # whether checkpoints of other tasks do too
    tensorrt_batch = 8  # the largest that an engine is made for
    limits: ClassVar[Mapping[str, float]] = {}  # of `metrics` in lower precision: the least agreement, else the largest error

    def __init__(self, config: Any, options: ExportOptions, folder: Path) -> None:
        self.config, self.options, self.folder = config, options, folder
        self.notes: dict[str, None] = {}  # what was assumed, in order, each once

    @property
    def target(self) -> Target:
        """What the graphs are made for."""
        return TARGETS[self.options.target]

    def graph_options(self) -> dict[str, Any]:
        """The keywords that the task's graphs are made with."""
        return {"fused": self.options.fused}

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the logits, where the task has them."""
        labels: tuple[str, ...] | None = getattr(self.config, "labels", None)
        return labels

    @cached_property
    def preprocessor(self) -> dict[str, Any]:
        """The checkpoint's preprocessor_config.json, empty where it has none. Raises `InputError`.

        The `image_processor` in a processor_config.json counts before it, as in transformers.
        """
        nested = self._json_file(PROCESSOR_FILE).get("image_processor", {})
        if not isinstance(nested, dict):
            raise self.unusable_preprocessor("its image_processor is no JSON object", PROCESSOR_FILE)
        return nested or self._json_file(PREPROCESSOR_FILE)

    def _json_file(self, name: str) -> dict[str, Any]:
        file = self.folder / name
        try:
            found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise self.unusable_preprocessor(error, name) from error
        if not isinstance(found, dict):
            raise self.unusable_preprocessor("it holds no JSON object", name)
        return found

    def unusable_preprocessor(self, reason: object, name: str = PREPROCESSOR_FILE) -> InputError:
        """What is wrong with a processor file."""
        file = self.folder / name
        return InputError(f"{file} cannot be used ({reason}): correct it, or remove it for DeepMind's constants")

    def sample_file(self, name: str) -> Path | None:
        """A sample input that comes with the checkpoint, in its folder `sample`."""
        file = self.folder / SAMPLE_FOLDER / name
        return file if file.is_file() else None

    @abstractmethod
    def processor(self) -> dict[str, Any]:
        """The constants that the runtime's pipeline reads."""

    @abstractmethod
    def ranges(self) -> dict[str, Range]:
        """The sizes that the graphs are meant for."""

    def limited_ranges(self) -> dict[str, Range]:
        """`ranges`, for TensorRT with a smaller batch and no more queries than the memory budget has room for."""
        ranges = self.ranges()
        if self.target.profiles:
            ranges["B"] = Range(1, self.tensorrt_batch)
            if "O" in ranges:
                ranges["O"] = Range(1, self.query_limit(ranges["O"].max))
        return ranges

    def planned_sizes(self) -> dict[str, int]:
        """What memory is planned for: the largest sizes; for ONNX Runtime in a batch of one, and of images the usual size."""
        sizes = {name: span.max for name, span in self.limited_ranges().items()}
        return sizes if self.target.profiles else sizes | {"B": 1}

    def lowering(self) -> Lowering:
        """What the graphs are made for."""
        options = self.options
        return Lowering(options.target, options.precision, self.planned_sizes(), options.memory_budget, options.passes)

    def query_limit(self, usual: int) -> int:
        """How many queries are decoded at once: `usual`, or for TensorRT as many as the memory budget has room for."""
        if not self.target.profiles:
            return usual
        row: int = 4 * self.tensorrt_batch * self.config.decoder.heads * self.config.encoder.num_latents
        return max(1, min(usual, self.options.memory_budget // row))

    @abstractmethod
    def cases(self) -> Iterator[Case]:
        """What to verify on: smallest, odd in a batch, typical, largest."""

    @abstractmethod
    def read_samples(self, folder: Path) -> list[Inputs]:
        """The inputs of the encode graph that the files of a folder give, at most `samples.MOST`; a note where there are more.

        Raises `InputError`.
        """

    def first(self, found: Sequence[T], folder: Path, most: int = samples.MOST) -> Sequence[T]:
        """The samples to take of those found in a folder, with a note where these are not all."""
        if len(found) > most:
            self.notes[f"{folder} holds {len(found)} samples, the first {most} are taken"] = None
        return found[:most]

    @property
    def limits_in_force(self) -> dict[str, float]:
        """`limits`, or what the user allows 8 bits to lose. Raises `UsageError`."""
        allowed = self.options.int8_limit
        if allowed is None:
            return dict(self.limits)
        if not self.limits:
            raise UsageError("this task has no figure of its own to limit: leave out --int8-limit")
        if any(is_agreement(name) for name in self.limits) and allowed >= 1:
            raise UsageError(f"--int8-limit {allowed:g} would let every answer differ: give a share below 1")
        return {name: 1 - allowed if is_agreement(name) else allowed for name in self.limits}

    @cached_property
    def own_inputs(self) -> tuple[Inputs, ...]:
        """Inputs of the user's: the checkpoint's folder `sample`, and the folder asked for. Raises `InputError`."""
        return (*self._given(self.options.samples), *self.checkpoint_inputs)

    @cached_property
    def checkpoint_inputs(self) -> list[Inputs]:
        """Inputs that come with the checkpoint. Raises `InputError`."""
        return self.read_samples(self.folder / SAMPLE_FOLDER)

    def _given(self, folder: str | None) -> list[Inputs]:
        """The samples of a folder that was asked for. Raises `InputError` where it has none."""
        if folder is None:
            return []
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder} of samples: name one that holds {self.sample_files}")
        given = self.read_samples(Path(folder))
        if not given:
            raise InputError(f"{folder} holds no samples for this task: put {self.sample_files} into it")
        return given

    @cached_property
    def calibration_inputs(self) -> dict[str, list[Inputs]]:
        """What ranges of activations are measured on: the user's for that, the checkpoint's own, general ones.

        Raises `InputError`.
        """
        return {
            "calibration": self._given(self.options.calibration),
            "sample": self.checkpoint_inputs,
            "general": [inputs for case in self.cases() for inputs in case.runs],
        }

    def all_cases(self) -> Iterator[Case]:
        """`cases`, then the user's own inputs together; one alone has no spread, so one of the others joins it."""
        first: Case | None = None
        for case in self.cases():
            first = first or case
            yield case
        if self.own_inputs and first is not None:
            count = len(self.own_inputs)
            runs = self.own_inputs if count > 1 else (*self.own_inputs, first.runs[0])
            yield Case(f"{count} own input{'s' if count > 1 else ''}", runs, count)

    @abstractmethod
    def reference(self, model: Any, inputs: Inputs) -> Answer:
        """What torch says, the latents included."""

    def case_reference(self, model: Any, case: Case) -> Answer:
        """What torch says to all runs of a case."""
        return together([self.reference(model, inputs) for inputs in case.runs])

    def case_noise(self, model: Any, case: Case) -> dict[str, float]:
        """What rounding moves that by, for each output."""
        return rounding_noise(model, partial(self.case_reference, model, case))

    @abstractmethod
    def answer(self, graphs: Graphs, inputs: Inputs) -> Answer:
        """What the graphs say."""

    @abstractmethod
    def fused_answer(self, graph: OnnxGraph, inputs: Inputs) -> Answer:
        """What the one graph of the whole model says: the same without the latents."""

    @abstractmethod
    def sample(self, model: Any) -> Sample:
        """Inputs as a user gives them, and torch's answer."""

    def metrics(self, reference: Answer, found: Answer) -> dict[str, float]:
        """The answer in the task's own terms, 0 to 1 where it is an agreement."""
        return {}


class ClassificationRecipe(Recipe):
    """What classifiers of anything share: latents to logits."""

    limits: ClassVar[Mapping[str, float]] = {"top1_agreeing": 0.6}

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

    def metrics(self, reference: Answer, found: Answer) -> dict[str, float]:
        """How many inputs have the same first label."""
        return {"top1_agreeing": agreement(reference["logits"], found["logits"])}


def is_agreement(name: str) -> bool:
    """Whether a figure of `Recipe.metrics` is one, else an error."""
    return name.endswith("agreeing")


def together(answers: Sequence[Answer]) -> Answer:
    """The answers of several runs, one below the other."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


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
