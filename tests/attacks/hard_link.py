"""A listed file with a second name outside: its bytes are what counts."""

import os
from pathlib import Path

MESSAGE = None  # it opens, and computes what it should


def attack(bundle: Path) -> None:
    os.link(bundle / "encode.onnx", bundle.parent / "second-name.onnx")
