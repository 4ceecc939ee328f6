"""The manifest itself as a link."""

from pathlib import Path

MESSAGE = None  # it opens, and computes what it should


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.rename(bundle.parent / "manifest.json")
    path.symlink_to(bundle.parent / "manifest.json")
