"""Kinds of inputs, queries and outputs of a model of one's own: what its graphs take of each, and what a user gives.

A new kind is a class here with the methods of `Kind`; which task a bundle is for, tables in head.py say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from perceiver_deploy.tasks.pictures import sample_frames
from perceiver_deploy.tasks.text import TEXTS
from perceiver_export.protocol import TensorInput
from perceiver_runtime import UsageError
from perceiver_runtime.processing.image import ImageProcessor
from perceiver_runtime.processing.text import TextProcessor
from perceiver_runtime.tasks.arrays.signature import ARRAY, BATCH, QUERIES, ItemInput
from perceiver_runtime.tasks.labels import PROBLEM_TYPES

Sizes = Mapping[str, tuple[int, int]]  # the smallest and the largest of each dynamic size
DTYPES = ("float32", "int64")
LARGEST_CHUNK = 1 << 16  # queries decoded at once, where nothing else is said


class Kind(Protocol):
    """A kind of input or query, under the name that a model's method has for it."""

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""

    def tensors(self, name: str) -> tuple[TensorInput, ...]:
        """What graphs take of it."""

    def sizes(self) -> Sizes:
        """Its dynamic sizes."""

    def runtime(self, name: str) -> ItemInput:
        """How the runtime reads it."""

    def value(self, number: int, sizes: Mapping[str, int]) -> Any:
        """An item's value to verify on, of these sizes, as a user gives it; `number` counts items."""


@dataclass(frozen=True)
class Arrays:
    """An array with named axes, without the batch: `Arrays(("M", 3), {"M": (1, 4096)})` is a point cloud.

    A text in `axes` is the name of a size that varies, and `ranges` says from where to where; one name is one size everywhere.
    The axis `O`, first, is that of queries: each is answered on its own, so they are decoded in chunks. `mask` is the keyword
    under which the model takes an int64 mask of the first axis, 0 where there is padding; without one, only items of one size
    are batched. `values` are the smallest and the largest value to verify with (of int64 both may occur), by default standard
    normal numbers, or 0 and 1. As an output, `Arrays()` is of whatever shape the model gives, and axes are compared with that.
    """

    axes: tuple[int | str, ...] = ()
    ranges: Sizes = field(default_factory=dict)
    dtype: str = "float32"
    mask: str | None = None
    values: tuple[float, float] | None = None

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        if not self.axes or not isinstance(self.axes, tuple):
            raise UsageError(f"{name}: name the axes of an item, such as Arrays(('M', 3), {{'M': (1, 4096)}})")
        for axis in self.axes:
            if isinstance(axis, str):
                span = self.ranges.get(axis)
                if not axis.isidentifier() or axis == BATCH:
                    raise UsageError(f"{name}: {axis!r} is no name for an axis: a letter or a word, and B is the batch")
                whole = span is not None and len(span) == 2 and all(type(size) is int for size in span)
                if span is not None and not (whole and 1 <= span[0] <= span[1]):
                    raise UsageError(f"{name}: the range of {axis} is {span}: give (smallest, largest), from 1")
            elif type(axis) is not int or axis < 1:
                raise UsageError(f"{name} has an axis {axis!r}: give its size, or a name where it varies")
        if self.dtype not in DTYPES:
            raise UsageError(f"{name} is {self.dtype}: graphs take {' and '.join(DTYPES)}")
        if QUERIES in self.axes[1:]:
            raise UsageError(f"{name}: O, the axis of queries, comes first")
        if self.mask is not None and not isinstance(self.axes[0], str):
            raise UsageError(f"{name} has a mask, but its first axis is always {self.axes[0]}: name it where it varies")

    def tensors(self, name: str) -> tuple[TensorInput, ...]:
        """The array, and its mask."""
        own = TensorInput(name, name, (BATCH, *self.axes), self.dtype)
        return (own,) if self.mask is None else (own, TensorInput(self.mask, self.mask, (BATCH, self.axes[0]), "int64"))

    def sizes(self) -> Sizes:
        """Those of its named axes that it gives a range."""
        return {axis: span for axis, span in self.ranges.items() if axis in self.axes}

    def runtime(self, name: str) -> ItemInput:
        """As it is."""
        return ItemInput(name, ARRAY, self.mask)

    def value(self, number: int, sizes: Mapping[str, int]) -> NDArray[Any]:
        """Random numbers."""
        random = np.random.default_rng([number, *self.axes_seed()])
        shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.axes)
        if self.dtype == "int64":
            low, high = self.values or (0, 1)
            return random.integers(int(low), int(high), shape, endpoint=True)
        if self.values is None:
            return random.standard_normal(shape, np.float32)
        return random.uniform(*self.values, shape).astype(np.float32)

    def fits(self, shape: tuple[int | str, ...], inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape, the batch first, cannot be it; empty if it can. Without axes any is."""
        wanted = (BATCH, *self.axes)
        return "" if not self.axes or shape == wanted else f"declared are the axes ({', '.join(map(str, wanted))})"

    def constants(self) -> dict[str, Any]:
        """Nothing: arrays are as they are."""
        return {}

    def axes_seed(self) -> list[int]:
        """Numbers of the axes, so that inputs differ."""
        return [axis if isinstance(axis, int) else sum(axis.encode()) for axis in self.axes]


class OutputKind(Protocol):
    """A kind of output."""

    def fits(self, shape: tuple[int | str, ...], inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape, the batch first, cannot be it beside `inputs`; empty if it can."""

    def constants(self) -> dict[str, Any]:
        """What the pipeline of a task reads of it in the manifest's `processor`."""


def Positions(dims: int, *, most: int = LARGEST_CHUNK) -> Arrays:  # it is used as a kind
    """Queries that are positions (O, dims) in [-1, 1], each answered on its own, at most `most` at once."""
    return Arrays((QUERIES, dims), {QUERIES: (1, most)}, values=(-1.0, 1.0))


@dataclass(frozen=True)
class Text:
    """A text as bytes: token ids (L) under the input's name, and under `mask` which of them are no padding, both int64."""

    max_length: int = 2048  # tokens, `[CLS]` and `[SEP]` among them
    mask: str = "attention_mask"

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        if type(self.max_length) is not int or self.max_length < 4:
            raise UsageError(f"{name}: a text has 4 tokens at least, max_length is {self.max_length!r}")

    def tensors(self, name: str) -> tuple[TensorInput, ...]:
        """Ids and mask."""
        return tuple(TensorInput(each, each, (BATCH, "L"), "int64") for each in (name, self.mask))

    def sizes(self) -> Sizes:
        """The length."""
        return {"L": (1, self.max_length)}

    def runtime(self, name: str) -> ItemInput:
        """Through the tokenizer."""
        constants = TextProcessor(self.max_length).to_json()
        return ItemInput(name, "text", graph={"input_ids": name, "attention_mask": self.mask}, constants=constants)

    def value(self, number: int, sizes: Mapping[str, int]) -> str:
        """A text of nearly that many bytes, other ones for other items."""
        length = max(1, sizes["L"] - 2)
        text = TEXTS[number % len(TEXTS)]
        return (text * (length // len(text) + 1)).encode()[: max(1, length - number % 3)].decode(errors="ignore") or "a"


@dataclass(frozen=True)
class Image:
    """A picture of any size, which the runtime makes float32 (channels, height, width): resized to `size` and normalised.

    `mean` and `std` are per channel, of values scaled to [0, 1]; one of each is for grey. `crop` as PerceiverImageProcessor has
    it: the middle of the picture, size / crop of its shorter side; (0, 0) is the whole.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: tuple[int, int] = (0, 0)

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        if not isinstance(self.size, tuple) or len(self.size) != 2 or not all(type(side) is int for side in self.size):
            raise UsageError(f"{name}: the size is {self.size!r}: give (height, width) in pixels")
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean):
            raise UsageError(f"{name}: give mean and std for one channel or for three")

    @property
    def processor(self) -> ImageProcessor:
        """As the runtime has it."""
        return ImageProcessor(self.size, self.crop, tuple(self.mean), tuple(self.std))

    def tensors(self, name: str) -> tuple[TensorInput, ...]:
        """The pixels."""
        return (TensorInput(name, name, (BATCH, len(self.mean), *self.size)),)

    def sizes(self) -> Sizes:
        """None: one size."""
        return {}

    def runtime(self, name: str) -> ItemInput:
        """Through the image processor."""
        return ItemInput(name, "image", graph={"pixel_values": name}, constants=self.processor.to_json())

    def value(self, number: int, sizes: Mapping[str, int]) -> NDArray[np.uint8]:
        """A photograph, other ones for other items."""
        first, second = sample_frames(120, 180)
        return (first, 255 - second, second[::-1], np.ascontiguousarray(first[:, ::-1]))[number % 4]


@dataclass(frozen=True)
class Labels:
    """An output (B, labels) whose values are of these names; `problem` says how they become probabilities."""

    names: tuple[str, ...]
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        check_names(name, self.names)
        if self.problem not in PROBLEM_TYPES:
            raise UsageError(f"{name}: the problem is {self.problem!r}, one of {', '.join(PROBLEM_TYPES)}")

    def constants(self) -> dict[str, Any]:
        """How logits become probabilities."""
        return {"problem": self.problem}

    def fits(self, shape: tuple[int | str, ...], inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape cannot be it; empty if it can."""
        wanted = (BATCH, len(self.names))
        return "" if shape == wanted else f"{len(self.names)} labels are of the shape ({BATCH}, {len(self.names)})"


def check_names(name: str, names: tuple[str, ...]) -> None:
    """Raise `UsageError` for names of labels that are none."""
    if isinstance(names, str) or not names or not all(isinstance(each, str) for each in names):
        raise UsageError(f"{name}: give the names of the labels, such as ('stop', 'go')")
