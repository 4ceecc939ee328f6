"""More bytes than the tensor has values."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"takes 8 bytes for 1 values"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, length="8")))
