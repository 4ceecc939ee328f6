"""An input that the manifest does not know."""

from pathlib import Path

from forgery import forge
from onnx import TensorProto, helper

MESSAGE = r"has other inputs than the manifest says"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.input.append(helper.make_tensor_value_info("evil", TensorProto.FLOAT, [1])))
