"""Tensors of one name, one of which hides the other."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"has two initializers of one name"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.extend([external(WEIGHTS), external(WEIGHTS)]))
