"""An unknown field in an opset."""

from pathlib import Path

from forgery import append, field

MESSAGE = r"has the field 3 in an opset"


def attack(bundle: Path) -> None:
    append(bundle, field(8, field(2, 1) + field(3, b"x")))
