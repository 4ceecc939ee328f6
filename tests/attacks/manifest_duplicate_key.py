"""A key twice, of which readers take the first or the last."""

from pathlib import Path

MESSAGE = r"has a key twice"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace("{", '{"task": "flow",', 1))
