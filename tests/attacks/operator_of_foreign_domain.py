"""An operator that some library registers."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"uses operators of the domain 'evil'"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(helper.make_node("X", [], [], domain="evil")))
