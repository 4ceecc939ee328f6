"""A graph that is not there."""

from pathlib import Path

MESSAGE = r"encode.onnx is missing or cannot be read"


def attack(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
