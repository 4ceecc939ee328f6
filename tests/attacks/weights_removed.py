"""The weights are removed between hashing and opening."""

from pathlib import Path

from forgery import WEIGHTS

MESSAGE = r"weights.safetensors has gone since the bundle was opened"
WHEN = "opened"


def attack(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()
