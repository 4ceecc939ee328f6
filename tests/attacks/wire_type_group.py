"""A group, which protobuf had long ago."""

from pathlib import Path

from forgery import add_node

MESSAGE = r"has the field 1 in a node with the wire type 3"


def attack(bundle: Path) -> None:
    add_node(bundle, bytes([1 << 3 | 3, 1 << 3 | 4]))
