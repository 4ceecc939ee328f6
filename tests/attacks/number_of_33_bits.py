"""An element type that some readers cut to 32 bits."""

from pathlib import Path

from forgery import add_tensor, field

MESSAGE = r"has the number 4294967297 where 32 bits belong"


def attack(bundle: Path) -> None:
    add_tensor(bundle, field(2, (1 << 32) + 1), field(9, bytes(4)))
