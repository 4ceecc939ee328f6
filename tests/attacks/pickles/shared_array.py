"""One mapping used again and again in each other: a tree of 2**60."""

from pathlib import Path

MESSAGE = r"uses an array or a mapping twice"


def attack(path: Path) -> None:
    start = b"\x80\x02}q\x00"
    key = [b"X\x01\x00\x00\x00" + name for name in (b"a", b"b")]
    doubled = b"".join(
        b"}" + key[0] + b"h" + bytes([n]) + b"s" + key[1] + b"h" + bytes([n]) + b"sq" + bytes([n + 1]) for n in range(7)
    )
    path.write_bytes(start + doubled + b".")
