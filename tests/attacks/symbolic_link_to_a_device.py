"""A listed file that is a link to a device without end."""

from pathlib import Path

MESSAGE = r"encode.onnx is not a regular file"


def attack(bundle: Path) -> None:
    (bundle / "encode.onnx").unlink()
    (bundle / "encode.onnx").symlink_to("/dev/zero")
