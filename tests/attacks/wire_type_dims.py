"""Dimensions as numbers of 64 bits, which some readers skip."""

from pathlib import Path

from forgery import add_tensor, field

MESSAGE = r"has the field 1 in a tensor with the wire type 1 instead of 0"


def attack(bundle: Path) -> None:
    add_tensor(bundle, field(1, bytes(8), wire_type=1), field(1, 10**6), field(2, 1), field(9, bytes(4 * 10**6)))
