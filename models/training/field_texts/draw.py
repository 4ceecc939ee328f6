"""What generators draw from: random numbers, words, glosses, and the ways to write a value, which are lines of files.

A file in `formats` has one way a line, twice where it is to come more often; those after `--- kept` are for testing alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

ACCENTED = {
    "a": "äàáâåãą",
    "e": "éèêëęě",
    "i": "íìîï",
    "o": "öóòôøõ",
    "u": "üúùûů",
    "n": "ñń",
    "c": "çčć",
    "s": "ßšś",
    "l": "ł",
    "y": "ý",
}
_HERE = Path(__file__).parent


class Piece(NamedTuple):
    """A part of a text and its label, empty for what is in no field."""

    text: str
    label: str = ""


class Formats(NamedTuple):
    """Ways to write a kind of value: those of training, and those that are kept for testing."""

    trained: tuple[str, ...]
    kept: tuple[str, ...] = ()

    @classmethod
    def read(cls, name: str) -> Formats:
        """Those of a file."""
        trained, _, kept = (_HERE / f"formats/{name}.txt").read_text(encoding="utf-8").partition("--- kept\n")
        return cls(tuple(trained.splitlines()), tuple(kept.splitlines()))


def read_templates(name: str) -> tuple[str, ...]:
    r"""One a line; `\n` and `\t` in it are a new line and a tab."""
    lines = (_HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.replace("\\n", "\n").replace("\\t", "\t") for line in lines)


@dataclass
class Draw:
    """A source of chance. `words` are lower-case, `glosses` hold no fields; `kept` draws formats that training never sees."""

    random: Random
    words: Sequence[str]
    glosses: Sequence[str]
    kept: bool = False

    def format(self, formats: Formats) -> str:
        """One way to write a value."""
        return self.random.choice(formats.kept if self.kept and formats.kept else formats.trained)

    def chance(self, share: float) -> bool:
        """True in this share of calls."""
        return self.random.random() < share

    def word(self) -> str:
        """One word, of letters alone."""
        return self._accented(self.random.choice(self.words))

    def gloss(self) -> str:
        """A line of English without fields, its first letter large in half of cases."""
        gloss = self._accented(self.random.choice(self.glosses))
        return gloss[0].upper() + gloss[1:] if self.chance(0.5) else gloss

    def _accented(self, text: str) -> str:
        """The text, or seldom with letters of other languages in it: these are not in fields alone."""
        if not self.chance(0.15):
            return text
        return "".join(self.random.choice(ACCENTED.get(each, each)) if self.chance(0.3) else each for each in text)

    def digits(self, pattern: str) -> str:
        """A pattern with a digit for each `#`, and one that is not 0 for each `^`."""
        return re.sub("[#^]", lambda match: str(self.random.randint(match.group() == "^", 9)), pattern)
