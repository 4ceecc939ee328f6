"""An attribute that quantizes in blocks, of any size."""

from pathlib import Path

from forgery import quantize

MESSAGE = r"quantizes in the node 'evil'"


def attack(bundle: Path) -> None:
    quantize(bundle, block_size=1 << 40)
