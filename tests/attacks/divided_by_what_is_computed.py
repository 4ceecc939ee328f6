"""An integer divided by what only a run will show."""

from pathlib import Path

from forgery import divide

MESSAGE = r"divides integers in the node 'evil'"


def attack(bundle: Path) -> None:
    divide(bundle, "Div", None)
