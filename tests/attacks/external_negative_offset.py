"""A position before the weights file."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"decode.onnx has external data at '-8', which is no position"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, "-8")))
