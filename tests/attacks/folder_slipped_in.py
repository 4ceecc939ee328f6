"""A folder beside the graphs: it is ignored."""

from pathlib import Path

MESSAGE = None  # it opens, and computes what it should


def attack(bundle: Path) -> None:
    (bundle / "more").mkdir()
