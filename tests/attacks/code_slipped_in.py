"""Python beside the graphs."""

from pathlib import Path

MESSAGE = r"holds \['model.py'\], which its manifest does not list"


def attack(bundle: Path) -> None:
    (bundle / "model.py").write_text("import os")
