"""Stored float8 that something else than a DequantizeLinear reads."""

from pathlib import Path

from forgery import forge
from onnx import ModelProto, TensorProto, helper

MESSAGE = r"quantizes in the node 'evil'"


def attack(bundle: Path) -> None:
    def change(model: ModelProto) -> None:
        eight = TensorProto(name="eight", dims=[1], data_type=TensorProto.FLOAT8E4M3FN, raw_data=b"\1")
        model.graph.initializer.append(eight)
        model.graph.node.append(helper.make_node("Neg", ["eight"], ["x"], name="evil"))

    forge(bundle, change)
