"""A dimension of 2**62."""

from pathlib import Path

from forgery import add_tensor, field

MESSAGE = r"has a tensor of the shape \[4611686018427387904, 0\]"


def attack(bundle: Path) -> None:
    add_tensor(bundle, field(1, 1 << 62), field(1, 0), field(2, 1))
