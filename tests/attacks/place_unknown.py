"""Data at a place that some readers take for none."""

from pathlib import Path

from forgery import add_tensor, field

MESSAGE = r"has a tensor whose data is at the place 2"


def attack(bundle: Path) -> None:
    add_tensor(bundle, field(2, 1), field(9, bytes(4)), field(14, 2))
