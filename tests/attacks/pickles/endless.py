"""More instructions than any file of arrays has."""

from pathlib import Path

MESSAGE = r"more than 1048576 instructions"


def attack(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"N0" * (1 << 20) + b"N.")
