"""Answers that differ each time, so that no check holds."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"uses the operator ai.onnx::RandomNormal"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(helper.make_node("RandomNormal", [], ["y"])))
