"""A listed file that is a pipe, on which a reader would wait for ever."""

import os
from pathlib import Path

MESSAGE = r"encode.onnx is not a regular file"


def attack(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
    os.mkfifo(bundle / "encode.onnx")
