"""A graph is written over while a bundle is open: its bytes are not looked at again."""

from pathlib import Path

MESSAGE = None  # it opens, and computes what it should
WHEN = "opened"


def attack(bundle: Path) -> None:
    (bundle / "decode.onnx").write_bytes(b"")
