"""Nesting that exhausts a parser's stack."""

from pathlib import Path

MESSAGE = r"config\.json.*nested"


def attack(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
