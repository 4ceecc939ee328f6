"""A manifest that fills memory."""

from pathlib import Path

MESSAGE = r"more than the 4194304 allowed"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(b" " * (5 << 20))
