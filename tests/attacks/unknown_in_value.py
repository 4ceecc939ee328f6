"""An unknown field in a value."""

from pathlib import Path

from forgery import add_to_graph, field

MESSAGE = r"has the field 9 in a value"


def attack(bundle: Path) -> None:
    add_to_graph(bundle, field(13, field(9, b"x")))
