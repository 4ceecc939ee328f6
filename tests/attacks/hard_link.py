"""A listed file with a second name outside, through which it can be changed."""

import os
from pathlib import Path

MESSAGE = r"is not a plain file with one name"


def attack(bundle: Path) -> None:
    os.link(bundle / "encode.onnx", bundle.parent / "second-name.onnx")
