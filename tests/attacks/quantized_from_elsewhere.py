"""Values quantized by a scale that the graph computes."""

from pathlib import Path

from forgery import quantize

MESSAGE = r"quantizes in the node 'evil'"


def attack(bundle: Path) -> None:
    quantize(bundle, scale="latents")
