"""A node that allocates what its input says."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"uses the operator ai.onnx::ConstantOfShape"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(helper.make_node("ConstantOfShape", ["x"], ["y"])))
