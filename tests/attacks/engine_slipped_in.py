"""An engine beside the graphs: it is ignored."""

from pathlib import Path

MESSAGE = None  # it opens, and computes what it should


def attack(bundle: Path) -> None:
    (bundle / "encode.engine").write_bytes(b"native code")
