"""Two operators of a node: some readers take the first, some the last."""

from pathlib import Path

from forgery import add_node, field

MESSAGE = r"has the field 4 in a node twice"


def attack(bundle: Path) -> None:
    add_node(bundle, field(4, b"Identity"), field(4, b"RandomNormal"))
