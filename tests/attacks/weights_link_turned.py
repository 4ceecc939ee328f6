"""The link to the weights leads elsewhere between hashing and opening."""

from pathlib import Path

from forgery import WEIGHTS, other_weights

MESSAGE = None  # it opens, and computes what it should
WHEN = "opened"


def attack(bundle: Path) -> None:
    content = (bundle / WEIGHTS).read_bytes()
    (bundle / WEIGHTS).rename(bundle.parent / "aside")
    (bundle / WEIGHTS).write_bytes(content)
    other_weights(bundle)
