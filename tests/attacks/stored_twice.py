"""A tensor with data inside and outside."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"has a tensor whose data is both inside and outside"


def attack(bundle: Path) -> None:
    tensor = external(WEIGHTS)
    tensor.raw_data = bytes(4)
    forge(bundle, lambda model: model.graph.initializer.append(tensor))
