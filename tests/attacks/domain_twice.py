"""Two domains of an opset: some readers take the first, some the last."""

from pathlib import Path

from forgery import append, field

MESSAGE = r"has the field 1 in an opset twice"


def attack(bundle: Path) -> None:
    append(bundle, field(8, field(1, b"") + field(1, b"evil") + field(2, 1)))
