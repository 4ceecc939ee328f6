"""Nesting that exhausts a parser's stack."""

from pathlib import Path

MESSAGE = r"nested more than 16 deep"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text("[" * 100_000)
