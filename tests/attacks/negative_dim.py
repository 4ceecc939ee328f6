"""Dimensions below zero whose product is not."""

from pathlib import Path

from forgery import add_tensor, field

MESSAGE = r"has a tensor of the shape \[-2, -2\]"


def attack(bundle: Path) -> None:
    add_tensor(bundle, field(1, -2), field(1, -2), field(2, 1), field(9, bytes(16)))
