"""One bit of the weights."""

from pathlib import Path

MESSAGE = r"weights.safetensors is damaged: its sha256"


def attack(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
