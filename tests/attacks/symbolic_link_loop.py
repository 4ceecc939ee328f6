"""A listed file that is a link to itself."""

from pathlib import Path

MESSAGE = r"encode.onnx is missing or cannot be read"


def attack(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
    (bundle / "encode.onnx").symlink_to("encode.onnx")
