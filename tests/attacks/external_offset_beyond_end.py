"""A position after the end of the weights file."""

from pathlib import Path

from forgery import WEIGHTS, external, forge

MESSAGE = r"decode.onnx takes bytes .* beyond its end"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external(WEIGHTS, str(10**17))))
