"""A tensor of terabytes, of four stored bytes."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"takes 4 bytes for 1000000000000 values"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, dims=(10**6, 10**6))))
