"""The weights are written over in place between hashing and opening."""

from pathlib import Path

from forgery import other_weights

MESSAGE = r"weights.safetensors was changed while it was in use"
WHEN = "opened"


def attack(bundle: Path) -> None:
    other_weights(bundle)
