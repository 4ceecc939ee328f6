"""A zero point that is not zero, and of 16 bits."""

from pathlib import Path

from forgery import quantize
from onnx import TensorProto

MESSAGE = r"quantizes in the node 'evil'"


def attack(bundle: Path) -> None:
    quantize(bundle, zero=TensorProto(name="zero", data_type=TensorProto.INT8, raw_data=b"\1"))
