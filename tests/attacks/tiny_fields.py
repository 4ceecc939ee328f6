"""Fields of two bytes by the million, each a Python object."""

from pathlib import Path

from forgery import append

MESSAGE = r"has more than 500000 fields"


def attack(bundle: Path) -> None:
    append(bundle, bytes([14 << 3 | 2, 0]) * 2_000_000)
