"""An input of another rank than the manifest promises."""

from pathlib import Path

from forgery import forge

MESSAGE = r"has other inputs than the manifest says"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.input[0].type.tensor_type.shape.dim.add())
