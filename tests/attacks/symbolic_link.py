"""A listed file that is a link to one outside."""

from pathlib import Path

MESSAGE = r"encode.onnx is missing, unreadable or a link"


def attack(bundle: Path) -> None:
    outside = bundle.parent / "outside.onnx"
    (bundle / "encode.onnx").rename(outside)
    (bundle / "encode.onnx").symlink_to(outside)
