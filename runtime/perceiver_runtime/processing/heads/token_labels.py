"""Labels of tokens to spans of text. numpy alone.

A token is a byte, and a character has the label of its first byte, so that no span begins or ends inside a character. Runs of
one label are spans; the scheme says which names begin one. What transformers' token classification calls aggregation
strategies is here under the same names and computed alike, where a word is a run of characters without white space; `viterbi`
is this project's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.common.errors import InputError

Floats = NDArray[np.float32]
# of a scheme: the prefixes that begin a span, and those that end one
SCHEMES: dict[str, tuple[str, str]] = {"plain": ("", ""), "iob2": ("B", ""), "bioes": ("BS", "ES"), "bilou": ("BU", "LU")}
_INSIDE = {"plain": "", "iob2": "I", "bioes": "I", "bilou": "I"}
CHANGE = 2.0  # of `viterbi`: what a change of label costs, in nats; 1 to 3 do about as well
_WORD = re.compile(r"\S+")


class Tag(NamedTuple):
    """What a label's name says: the label of the span, and whether a token of it begins or ends one."""

    label: str
    begins: bool
    ends: bool


class Unit(NamedTuple):
    """Characters that have one label: from `start` to before `end`, the label's number, its probability."""

    start: int
    end: int
    label: int
    score: float


class Run(NamedTuple):
    """A span in characters of the text, its label without a prefix, the mean probability of its units."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True)
class TokenScheme:
    """How names of labels are read. `outside` is the name for what is in no span; None where every token is in one."""

    names: tuple[str, ...]
    scheme: str
    outside: str | None

    def tag(self, number: int) -> Tag:
        """Of a label's number. A name without a prefix continues a span of its own name."""
        prefix, dash, label = self.names[number].partition("-")
        begins, ends = SCHEMES[self.scheme]
        known = dash and len(prefix) == 1 and prefix in begins + ends + _INSIDE[self.scheme]
        return Tag(label, prefix in begins, prefix in ends) if known else Tag(self.names[number], False, False)

    def span_labels(self) -> set[str]:
        """What spans are called."""
        return {self.tag(number).label for number, name in enumerate(self.names) if name != self.outside}

    def spans(self, text: str, probabilities: Floats, aggregation: str = "simple") -> list[Run]:
        """The spans of a text, whose bytes have `probabilities` (bytes, labels). Raises `InputError`."""
        if aggregation not in AGGREGATIONS:
            raise InputError(f"the aggregation is {aggregation!r}: one of {', '.join(AGGREGATIONS)}")
        characters = probabilities[byte_offsets(text)[:-1]]
        return self._grouped(AGGREGATIONS[aggregation](self, text, characters))

    def change_costs(self) -> Floats:
        """What a label costs after another, (labels, labels): `CHANGE`, and nothing where it goes on with a span or outside."""
        tags = [self.tag(number) for number in range(len(self.names))]
        goes_on = [[one.label == other.label and not other.begins and not one.ends for other in tags] for one in tags]
        return np.where(goes_on, 0, CHANGE).astype(np.float32)

    def _grouped(self, units: Sequence[Unit]) -> list[Run]:
        groups: list[list[Unit]] = []
        last: Tag | None = None
        for unit in units:
            tag = self.tag(unit.label)
            if last is not None and tag.label == last.label and not tag.begins and not last.ends:
                groups[-1].append(unit)
            else:
                groups.append([unit])
            last = tag
        inside = [group for group in groups if self.names[group[0].label] != self.outside]
        return [
            Run(group[0].start, group[-1].end, self.tag(group[0].label).label, float(np.mean([each.score for each in group])))
            for group in inside
        ]


def scheme_of(names: Sequence[str], outside: str | None) -> str:
    """The scheme that names are of: `iob2` where all but `outside` begin with B- or I-, else `plain`."""
    inside = [name for name in names if name != outside]
    return "iob2" if inside and all(name[:2] in ("B-", "I-") and len(name) > 2 for name in inside) else "plain"


def byte_offsets(text: str) -> NDArray[np.int64]:
    """Where each character begins among the UTF-8 bytes, and at the end how many bytes there are: (characters + 1,)."""
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate([[0], np.cumsum(lengths)])


def _simple(scheme: TokenScheme, text: str, characters: Floats) -> list[Unit]:
    return _each(characters, characters.argmax(axis=-1).tolist())


def _each(characters: Floats, labels: Sequence[int]) -> list[Unit]:
    return [Unit(place, place + 1, label, float(characters[place, label])) for place, label in enumerate(labels)]


def _viterbi(scheme: TokenScheme, text: str, characters: Floats) -> list[Unit]:
    """The labels that are likeliest together (Viterbi 1967), where each change of label has a cost."""
    scores, costs = np.log(np.maximum(characters, 1e-9)), scheme.change_costs()
    best, came_from = scores[0], []
    for row in scores[1:]:
        reached = best[:, None] - costs
        came_from.append(reached.argmax(axis=0))
        best = reached.max(axis=0) + row
    labels = [int(best.argmax())]
    for before in reversed(came_from):
        labels.append(int(before[labels[-1]]))
    return _each(characters, labels[::-1])


def _words(choose: Any) -> Any:
    def units(scheme: TokenScheme, text: str, characters: Floats) -> list[Unit]:
        found = []
        for match in _WORD.finditer(text):
            scores = choose(characters[match.start() : match.end()])
            label = int(scores.argmax())
            found.append(Unit(match.start(), match.end(), label, float(scores[label])))
        return found

    return units


# by name: a scheme, a text and its characters' probabilities (characters, labels) to units
AGGREGATIONS: dict[str, Callable[[TokenScheme, str, Floats], list[Unit]]] = {
    "simple": _simple,
    "first": _words(lambda word: word[0]),
    "average": _words(lambda word: word.mean(axis=0)),
    "max": _words(lambda word: word[word.max(axis=1).argmax()]),
    "viterbi": _viterbi,
}
