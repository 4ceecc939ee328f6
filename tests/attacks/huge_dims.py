"""Dimensions by the hundred thousand, each as large as can be."""

from pathlib import Path

from forgery import add_tensor, field

MESSAGE = r"has a tensor of 160000 dimensions"


def attack(bundle: Path) -> None:
    add_tensor(bundle, *[field(1, (1 << 63) - 1)] * 160_000, field(2, 1))
