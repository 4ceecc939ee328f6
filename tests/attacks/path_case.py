"""Two files that are one where case does not count."""

from pathlib import Path

from forgery import rename_listed

MESSAGE = r"the manifest lists two files of one name"


def attack(bundle: Path) -> None:
    rename_listed(bundle, "README.md", "ENCODE.onnx")
