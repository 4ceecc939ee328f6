"""A number that is longer than it should be."""

from pathlib import Path

from forgery import append, field

MESSAGE = r"a number in it is longer than it should be"


def attack(bundle: Path) -> None:
    append(bundle, field(8, bytes([2 << 3, 0x88, 0x80, 0x00])))
