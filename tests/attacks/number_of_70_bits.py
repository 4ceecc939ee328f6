"""A number of more than 64 bits."""

from pathlib import Path

from forgery import append

MESSAGE = r"a number in it is longer than it should be"


def attack(bundle: Path) -> None:
    append(bundle, bytes([5 << 3, *[0xFF] * 9, 0x7F]))
