"""A name that writes to the clipboard, clears the screen and shows itself backwards."""

from pathlib import Path

MESSAGE = r"it asks for \\x1b\]52;c;aGk=\\x07\\x1b\[2J\.\\u202esystem"


def attack(path: Path) -> None:
    names = [b"\x1b]52;c;aGk=\x07\x1b[2J", "\u202esystem".encode()]
    path.write_bytes(b"\x80\x04" + b"".join(b"\x8c" + bytes([len(name)]) + name for name in names) + b"\x93.")
