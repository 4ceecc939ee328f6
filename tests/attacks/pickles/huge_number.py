"""A number of two billion bytes."""

from pathlib import Path

MESSAGE = r"it has the instruction LONG4"


def attack(path: Path) -> None:
    path.write_bytes(b"\x80\x02\x8b\xff\xff\xff\x7f.")
