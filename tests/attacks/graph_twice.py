"""Two graphs: some readers take one of them, some merge them."""

from pathlib import Path

from forgery import append, field

MESSAGE = r"has the field 7 in a model twice"


def attack(bundle: Path) -> None:
    append(bundle, field(7, b""))
