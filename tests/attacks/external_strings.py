"""Stored strings, which need allocation of their own."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"element type 8"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, dtype=8)))
