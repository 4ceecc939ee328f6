"""A graph that does not end."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"uses the operator ai.onnx::Loop"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(helper.make_node("Loop", [], [])))
