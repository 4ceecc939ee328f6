"""An operator of chance under the name Identity, which is a number of 64 bits to some readers and nothing to others."""

from pathlib import Path

from forgery import add_node, field

MESSAGE = r"has the field 4 in a node with the wire type 1 instead of 2"


def attack(bundle: Path) -> None:
    add_node(bundle, field(4, b"RandomNormal"), field(4, b"Identity", wire_type=1))
