"""Kinds of outputs for spans of text and boxes in pictures; `Labels` and `Arrays` are in kinds.py.

Each has `fits`, why an output of a shape cannot be it, and `constants`, what the runtime's pipeline reads in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perceiver_deploy.own.kinds import Kind, Text, check_names
from perceiver_runtime import UsageError
from perceiver_runtime.processing.heads.token_labels import SCHEMES, scheme_of
from perceiver_runtime.tasks.arrays.signature import BATCH

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class TokenLabels:
    """Logits (B, L, labels) for each token of a text, `[CLS]` and `[SEP]` among them, or (B, P, labels) for P positions.

    `scheme` is `plain`, `iob2` (B- begins a span, I- goes on), `bioes` or `bilou`; by default `iob2` where all names but
    `outside` begin so, else `plain`. `outside` is the name for tokens in no span, None where each is in one.
    """

    names: tuple[str, ...]
    scheme: str | None = None
    outside: str | None = "O"

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        check_names(name, self.names)
        if self.scheme is not None and self.scheme not in SCHEMES:
            raise UsageError(f"{name}: the scheme is {self.scheme!r}, one of {', '.join(SCHEMES)}")
        if self.outside is not None and self.outside not in self.names:
            raise UsageError(
                f"{name}: no label is called {self.outside!r}, the one for tokens in no span: say outside=NAME, or None"
            )

    def fits(self, shape: Shape, inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape cannot be it; empty if it can."""
        return _a_token_each(shape, inputs, len(self.names), f"{len(self.names)} labels")

    def constants(self) -> dict[str, Any]:
        """The scheme."""
        return {"answer": {"scheme": self.scheme or scheme_of(self.names, self.outside), "outside": self.outside}}


@dataclass(frozen=True)
class Spans:
    """Logits (B, L, 2) of where an answer begins and ends in a text, or (B, P, 2) for P positions.

    The text is `[CLS] question [SEP] text [SEP]`; `[CLS]` stands for no answer. `max_answer` is the most bytes that one has.
    """

    max_answer: int = 256

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        if type(self.max_answer) is not int or self.max_answer < 1:
            raise UsageError(f"{name}: the longest answer is {self.max_answer!r}: give bytes, 1 or more")

    def fits(self, shape: Shape, inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape cannot be it; empty if it can."""
        return _a_token_each(shape, inputs, 2, "the start and the end")

    def constants(self) -> dict[str, Any]:
        """The longest answer."""
        return {"answer": {"max_answer": self.max_answer}}


@dataclass(frozen=True)
class BoxLabels:
    """Logits (B, queries, labels + 1) of what is in each box, the last for "no object", as DETR has them.

    With `problem="multi_label"` each label is on its own, there is none for "no object", and they are (B, queries, labels).
    """

    names: tuple[str, ...]
    problem: Literal["single_label", "multi_label"] = "single_label"

    def check(self, name: str) -> None:
        """Raise `UsageError` for what makes no sense."""
        check_names(name, self.names)
        if self.problem not in ("single_label", "multi_label"):
            raise UsageError(f"{name}: the problem is {self.problem!r}, single_label or multi_label")

    def fits(self, shape: Shape, inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape cannot be it; empty if it can."""
        classes = len(self.names) + (self.problem == "single_label")
        none = " and of no object" if self.problem == "single_label" else ""
        return _of_queries(shape, classes, f"logits of {len(self.names)} labels{none}")

    def constants(self) -> dict[str, Any]:
        """How logits become probabilities."""
        return {"problem": self.problem}


@dataclass(frozen=True)
class Boxes:
    """Boxes (B, queries, 4): centre x, centre y, width and height, as shares of the model's input."""

    def check(self, name: str) -> None:
        """Nothing can be wrong."""

    def fits(self, shape: Shape, inputs: Mapping[str, Kind]) -> str:
        """Why an output of this shape cannot be it; empty if it can."""
        return _of_queries(shape, 4, "boxes")

    def constants(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def _of_queries(shape: Shape, channels: int, what: str) -> str:
    fits = len(shape) == 3 and (shape[0], shape[2]) == (BATCH, channels) and isinstance(shape[1], int)
    return "" if fits else f"{what} are of the shape ({BATCH}, queries, {channels})"


def _a_token_each(shape: Shape, inputs: Mapping[str, Kind], channels: int, what: str) -> str:
    length = max((kind.max_length for kind in inputs.values() if isinstance(kind, Text)), default=0)
    wanted = f"{what} of each token are of the shape ({BATCH}, L, {channels}), or ({BATCH}, {length} or more, {channels})"
    if len(shape) != 3 or (shape[0], shape[2]) != (BATCH, channels):
        return wanted
    enough = shape[1] == "L" or (isinstance(shape[1], int) and shape[1] >= length > 0)
    return "" if enough else wanted
