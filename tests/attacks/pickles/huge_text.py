"""A text of 2**60 bytes."""

from pathlib import Path

MESSAGE = r"it is no pickle, or broken"


def attack(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x8d" + (1 << 60).to_bytes(8, "little") + b"abc.")
