"""Two attributes of one name."""

from pathlib import Path

from forgery import add_node, field

MESSAGE = r"has two attributes of one name"


def attack(bundle: Path) -> None:
    attribute = field(5, field(1, b"to") + field(3, 1) + field(20, 2))
    add_node(bundle, field(4, b"Cast"), attribute, attribute)
