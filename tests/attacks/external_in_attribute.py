"""A path in the value of a Constant."""

from pathlib import Path

from forgery import constant, external, forge

MESSAGE = r"decode.onnx takes external data from .* which is not the bundle's weights file"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(constant(value=external("/etc/passwd"))))
