"""Integers of a range that the graph computes, which something else than a product of integers reads."""

from pathlib import Path

from forgery import forge
from onnx import ModelProto, helper

MESSAGE = r"quantizes in the node 'reader'"


def attack(bundle: Path) -> None:
    def change(model: ModelProto) -> None:
        model.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["latents"], ["eight", "s", "z"], name="evil"))
        model.graph.node.append(helper.make_node("Div", ["eight", "z"], ["x"], name="reader"))

    forge(bundle, change)
