"""External data in a file of the system."""

from pathlib import Path

from forgery import external, forge

MESSAGE = r"decode.onnx takes external data from .* which is not the bundle's weights file"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external("/etc/passwd")))
