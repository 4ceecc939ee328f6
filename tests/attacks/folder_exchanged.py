"""The whole folder is exchanged for another between hashing and opening."""

import shutil
from pathlib import Path

from forgery import other_weights

MESSAGE = None  # it opens, and computes what it should
WHEN = "opened"


def attack(bundle: Path) -> None:
    other = Path(shutil.copytree(bundle, bundle.parent / "other"))
    other_weights(other)
    bundle.rename(bundle.parent / "aside")
    other.rename(bundle)
