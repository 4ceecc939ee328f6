"""A name that is not UTF-8."""

from pathlib import Path

from forgery import add_node, field

MESSAGE = r"a text in it is not UTF-8"


def attack(bundle: Path) -> None:
    add_node(bundle, field(4, b"Identity"), field(3, b"\xc0\x80"))
