"""Texts of labelled pieces: templates filled, fields woven into WordNet's glosses, several of them in one text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from wordnet import NOUN_CLASSES, Synset

from field_texts.amounts import COINS, NAMES, SPELLED, money, quantity, unit
from field_texts.contacts import email, foreign, lookalike, phone, url
from field_texts.dates_times import DAYS, MONTHS, RELATIVE, date, time, timestamp
from field_texts.draw import Draw, Piece, read_templates

LABELS = ("O", "DATE", "TIME", "AMOUNT", "UNIT", "EMAIL", "PHONE", "URL")
TRAINED, HELD_OUT = read_templates("templates"), read_templates("held_out")
FIELDS: dict[str, Callable[[Draw], list[Piece]]] = {
    "date": date,
    "time": time,
    "timestamp": timestamp,
    "money": money,
    "quantity": quantity,
    "unit": unit,
    "email": email,
    "phone": phone,
    "url": url,
    "lookalike": lookalike,
    "foreign": foreign,
    "word": lambda draw: [Piece(draw.word())],
    "words": lambda draw: [Piece(" ".join(draw.word() for _ in range(draw.random.randint(2, 4))))],
    "name": lambda draw: [Piece(" ".join(draw.word().capitalize() for _ in range(draw.random.randint(1, 2))))],
    "gloss": lambda draw: [Piece(draw.gloss())],
    "n": lambda draw: [Piece(draw.digits(draw.random.choice(("#", "^#", "^##", "^###", "^####", "^.#"))))],
}
_SLOT = re.compile(f"{{({'|'.join(FIELDS)})}}")
_NAMED = [*NAMES.trained, *NAMES.kept, *COINS, MONTHS["en"], DAYS["en"], RELATIVE, SPELLED]
_SPOKEN_OF = set(" ".join(_NAMED).replace("_", " ").lower().split()) - {"may", "march", "a", "per", "second", "one", "foot"}
# what may stand before and after a field in the middle of a text
_AROUND = (
    " _ ", " _ ", " _, ", " (_) ", ", _, ", ": _ ", "; _; ", ' "_" ', " = _ ", " - _ - ", " — _ — ", "\n_\n", "\t_\t",
    " | _ | ", " on _ ", " at _ ", " by _, ", " for _ ", " of _ ", " in _ ", " to _ ", " is _ ", " from _ ", " until _; ",
    " [_] ", " '_' ", " “_” ", " «_» ", " “_.” ", " _. ", " _? ", " _! ", " _: ", "、_、", "は_です", "在_，", " <_> ",
)  # fmt: skip
_WOVEN = ("date", "time", "money", "quantity", "quantity", "email", "phone", "url", "lookalike", "lookalike", "foreign", "unit")
_BETWEEN = (" ", " ", "\n", "\n", "\n\n", "; ", " | ", "  ", " - ", "\t", ", ")
_PLAIN = ("animal", "artifact", "food", "object", "plant")  # whose words are used for measuring


class Labelled(NamedTuple):
    """A text, and its spans: first character, the one after the last, label."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def source(synsets: Sequence[Synset], seed: int, *, held_out: bool, kept: bool = False) -> Draw:
    """Chance, and WordNet's words and glosses: those of held-out synsets, or the others."""
    chosen = [synset for synset in synsets if synset.held_out == held_out]
    named = [synset for synset in chosen if not held_out or NOUN_CLASSES[synset.noun_class] in _PLAIN]
    words = sorted({word for synset in named for word in synset.words if re.fullmatch("[a-z]{2,14}", word)} - _SPOKEN_OF)
    glosses = [part for synset in chosen for part in re.split(r"; ", synset.gloss) if 8 < len(part) < 120 and _holds_none(part)]
    return Draw(Random(seed), words, glosses, kept)


def _holds_none(text: str) -> bool:
    return not re.search(r"[0-9@$£€%°]|May |March ", text) and _SPOKEN_OF.isdisjoint(re.findall(r"[a-z']+", text.lower()))


def filled(draw: Draw, template: str) -> list[Piece]:
    """A template with values for its fields."""
    parts = _SLOT.split(template)
    return [piece for place, part in enumerate(parts) for piece in (FIELDS[part](draw) if place % 2 else [Piece(part)])]


def woven(draw: Draw) -> list[Piece]:
    """A gloss with a few fields at its beginning, its end or between its words."""
    words = draw.gloss().split(" ")
    places = {draw.random.randint(0, len(words)): draw.random.choice(_WOVEN) for _ in range(draw.random.randint(1, 3))}
    pieces: list[Piece] = []
    for place in range(len(words) + 1):
        if place in places:
            before, _, after = draw.random.choice(_AROUND).partition("_")
            pieces += [Piece(before if place else before.lstrip()), *FIELDS[places[place]](draw)]
            pieces.append(Piece(after if place < len(words) else after.rstrip()))
        elif 0 < place < len(words):
            pieces.append(Piece(" "))
        pieces += [Piece(word) for word in words[place : place + 1]]
    return pieces


def passage(draw: Draw, most: int) -> list[Piece]:
    """Templates and woven glosses, one after the other, until there are at least `most` characters or chance ends it."""
    pieces: list[Piece] = []
    while True:
        own = woven(draw) if draw.chance(0.45) else filled(draw, draw.random.choice(TRAINED))
        if draw.chance(0.08):
            own = [Piece(piece.text.lower(), piece.label) for piece in own]
        elif draw.chance(0.03):
            own = [Piece(piece.text.upper(), piece.label) for piece in own]
        if not own[-1].label and own[-1].text.endswith(".") and draw.chance(0.3):
            own[-1] = Piece(own[-1].text[:-1])
        pieces += own
        if sum(len(piece.text) for piece in pieces) >= most or draw.chance(0.25):
            return pieces
        pieces.append(Piece(draw.random.choice(_BETWEEN)))


def labelled(pieces: Sequence[Piece]) -> Labelled:
    """Pieces as one text."""
    text, spans = "", []
    for piece in pieces:
        if piece.label:
            spans.append((len(text), len(text) + len(piece.text), piece.label))
        text += piece.text
    return Labelled(text, tuple(spans))
