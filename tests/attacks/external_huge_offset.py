"""A position that overflows 64 bits."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"which is no position"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, "9" * 40)))
