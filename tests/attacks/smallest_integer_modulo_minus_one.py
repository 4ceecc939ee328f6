"""The remainder of the smallest integer by -1, which ends the process too."""

from pathlib import Path

from forgery import divide

MESSAGE = r"divides integers in the node 'evil'"


def attack(bundle: Path) -> None:
    divide(bundle, "Mod", [3, -1])
