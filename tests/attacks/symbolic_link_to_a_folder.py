"""A listed file that is a link to a folder."""

from pathlib import Path

MESSAGE = r"encode.onnx is not a regular file|encode.onnx is missing or cannot be read"


def attack(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
    (bundle / "encode.onnx").symlink_to("/tmp")
