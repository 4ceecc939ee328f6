"""A key that some readers take for a folder."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"has external data described by .*basepath"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, basepath="/etc")))
