"""An engine beside the graphs."""

from pathlib import Path

MESSAGE = r"holds \['encode.engine'\], which its manifest does not list"


def attack(bundle: Path) -> None:
    (bundle / "encode.engine").write_bytes(b"native code")
