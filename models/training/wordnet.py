"""WordNet's glosses: what a word means, in a line of English, and which of 26 classes its nouns are in.

The files are those of Debian's package wordnet-base (WordNet 3.0, Princeton University's free licence):

    apt-get install wordnet-base          # or: apt-get download wordnet-base; dpkg -x wordnet-base*.deb FOLDER

A synset is held out if a hash of its number says so: 2 in 100 for testing, never trained on, by any recipe.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("/usr/share/wordnet")
PARTS = ("noun", "verb", "adj", "adv")
HELD_OUT_PERCENT = 2
# lexicographer files 3 to 28, in order: wninput(5WN), lexnames(5WN)
NOUN_CLASSES = [
    "Tops",
    "act",
    "animal",
    "artifact",
    "attribute",
    "body",
    "cognition",
    "communication",
    "event",
    "feeling",
    "food",
    "group",
    "location",
    "motive",
    "object",
    "person",
    "phenomenon",
    "plant",
    "possession",
    "process",
    "quantity",
    "relation",
    "shape",
    "state",
    "substance",
    "time",
]
_FIRST_NOUN_CLASS = 3


class Synset(NamedTuple):
    """A meaning: its words, its gloss, its lexicographer file, and whether it is kept for testing."""

    words: tuple[str, ...]
    gloss: str
    file: int
    held_out: bool

    @property
    def noun_class(self) -> int:
        """Its place in `NOUN_CLASSES`, or -1 for what is no noun."""
        place = self.file - _FIRST_NOUN_CLASS
        return place if 0 <= place < len(NOUN_CLASSES) else -1


def read_synsets(folder: Path = FOLDER) -> list[Synset]:
    """All synsets of WordNet's four data files."""
    synsets = []
    for part in PARTS:
        for line in (folder / f"data.{part}").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(" "):  # the licence, at the top
                continue
            data, _, gloss = line.partition(" | ")
            fields = data.split()
            words = tuple(fields[4 + 2 * number].replace("_", " ") for number in range(int(fields[3], 16)))
            digest = int(hashlib.sha256(f"{part} {fields[0]}".encode()).hexdigest(), 16)
            synsets.append(Synset(words, gloss.strip(), int(fields[1]), digest % 100 < HELD_OUT_PERCENT))
    return synsets
