"""The smallest integer divided by -1, which ends the process."""

from pathlib import Path

from forgery import divide

MESSAGE = r"divides integers in the node 'evil'"


def attack(bundle: Path) -> None:
    divide(bundle, "Div", [-1])
