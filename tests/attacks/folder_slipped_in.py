"""A folder beside the graphs."""

from pathlib import Path

MESSAGE = r"holds \['more'\], which its manifest does not list"


def attack(bundle: Path) -> None:
    (bundle / "more").mkdir()
