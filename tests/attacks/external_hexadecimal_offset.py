"""A position that other parsers read otherwise."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"'0x8', which is no position"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, "0x8")))
