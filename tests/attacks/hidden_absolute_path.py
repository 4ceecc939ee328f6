"""A location under a tag of more than 32 bits, which some readers cut: an absolute path."""

from pathlib import Path

from forgery import hidden_location

MESSAGE = r"decode.onnx: a graph has the field 536870914 in a pair"


def attack(bundle: Path) -> None:
    hidden_location(bundle, "/etc/passwd")
