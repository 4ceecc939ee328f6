"""A bundle of a schema that this version does not know."""

from pathlib import Path

MESSAGE = r"schema version 2.0, this perceiver-runtime reads 1.0: upgrade"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": "1.0"', '"schema_version": "2.0"'))
