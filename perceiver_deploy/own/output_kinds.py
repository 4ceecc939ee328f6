"""Kinds of outputs for spans of text and boxes in pictures; `Labels` and `Arrays` are in kinds.py.

Each has `fits`, why an output of a shape cannot be it, and `constants`, what the runtime's pipeline reads in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def _a_token_each(shape: Shape, inputs: Mapping[str, Kind], channels: int, what: str) -> str:
    length = max((kind.max_length for kind in inputs.values() if isinstance(kind, Text)), default=0)
    wanted = f"{what} of each token are of the shape ({BATCH}, L, {channels}), or ({BATCH}, {length} or more, {channels})"
    if len(shape) != 3 or (shape[0], shape[2]) != (BATCH, channels):
        return wanted
    enough = shape[1] == "L" or (isinstance(shape[1], int) and shape[1] >= length > 0)
    return "" if enough else wanted
