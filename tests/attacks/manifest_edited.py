"""A number changed, the sum kept."""

from pathlib import Path

MESSAGE = r"the manifest is damaged or was edited"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"query_chunk": ', '"query_chunk": 1', 1))
