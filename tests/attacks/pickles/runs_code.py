"""A name that Python would call."""

from pathlib import Path

MESSAGE = r"it asks for posix.system"


def attack(path: Path) -> None:
    path.write_bytes(b"cposix\nsystem\n(X\x05\x00\x00\x00touchtR.")
