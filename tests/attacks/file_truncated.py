"""The last byte of the weights missing."""

from pathlib import Path

MESSAGE = r"weights.safetensors has \d+ bytes, the manifest says"


def attack(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
