"""Two graphs under each other's names."""

from pathlib import Path

MESSAGE = r"the manifest says"


def attack(bundle: Path) -> None:
    (bundle / "encode.onnx").rename(bundle / "x")
    (bundle / "decode.onnx").rename(bundle / "encode.onnx")
    (bundle / "x").rename(bundle / "decode.onnx")
