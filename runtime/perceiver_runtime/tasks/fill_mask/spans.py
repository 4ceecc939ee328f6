"""What masked bytes may have been: the answers of `FillMaskPipeline`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from perceiver_runtime.common.plain import Record, html_mark, html_text


@dataclass(frozen=True)
class Candidate(Record):
    """What may stand in a masked span, and the product of its bytes' probabilities."""

    text: str
    probability: float


@dataclass(frozen=True)
class MaskedSpan(Record):
    """A run of masked bytes: where it is, counted in bytes (a mask or an added token is one), and its best candidates."""

    start: int
    end: int
    candidates: tuple[Candidate, ...]


class MaskedSpans(list[MaskedSpan]):
    """The masked spans of a text, in order: a list, which notebooks show in the text, coloured the stronger the surer.

    `pieces` is the text before, between and after them.
    """

    def __init__(self, spans: Iterable[MaskedSpan], pieces: Sequence[str]) -> None:
        super().__init__(spans)
        self.pieces = tuple(pieces)

    @property
    def filled(self) -> str:
        """The text with the best candidate in each span."""
        best = [span.candidates[0].text for span in self]
        return "".join(part for pair in zip_longest(self.pieces, best, fillvalue="") for part in pair)

    def to_dict(self) -> dict[str, Any]:
        """`filled`, and `spans`: start, end, candidates with text and probability."""
        return {"filled": self.filled, "spans": [span.to_dict() for span in self]}

    def _repr_html_(self) -> str:
        parts = []
        for piece, span in zip_longest(self.pieces, self):
            parts.append(html.escape(piece or ""))
            if span is not None:
                best = span.candidates[0]
                hint = ", ".join(f"{each.text!r} {each.probability:.3g}" for each in span.candidates)
                parts.append(html_mark(best.text, best.probability, hint))
        return html_text(parts)
