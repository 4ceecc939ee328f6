"""A name that rewrites a terminal."""

from pathlib import Path

from forgery import rename_listed

MESSAGE = r"which is no plain file name"


def attack(bundle: Path) -> None:
    rename_listed(bundle, "README.md", "a\u001bb")
