"""An input of another type than the manifest promises."""

from pathlib import Path

from forgery import forge
from onnx import TensorProto

MESSAGE = r"has other inputs than the manifest says"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64))
