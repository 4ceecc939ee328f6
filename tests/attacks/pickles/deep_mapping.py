"""Mappings nested deeper than any model."""

from pathlib import Path

MESSAGE = r"nested too deeply"


def attack(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 1000 + b"N" + b"s" * 1000 + b".")
