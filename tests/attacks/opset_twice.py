"""Two versions of one opset."""

from pathlib import Path

from forgery import append, field

MESSAGE = r"has two opsets of one name"


def attack(bundle: Path) -> None:
    append(bundle, field(8, field(1, b"ai.onnx") + field(2, 7)))
