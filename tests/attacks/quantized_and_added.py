"""Values in 8 bits that something else than a DequantizeLinear reads."""

from pathlib import Path

from forgery import quantize

MESSAGE = r"quantizes in the node 'reader'"


def attack(bundle: Path) -> None:
    quantize(bundle, reader="Neg")
