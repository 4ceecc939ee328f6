"""An engine under the name BiasGelu, likewise."""

from pathlib import Path

from forgery import add_node, field

MESSAGE = r"has the field 4 in a node with the wire type 1 instead of 2"


def attack(bundle: Path) -> None:
    add_node(bundle, field(7, b"com.microsoft"), field(4, b"EPContext"), field(4, b"BiasGelu", wire_type=1))
