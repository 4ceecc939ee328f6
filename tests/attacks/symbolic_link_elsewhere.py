"""A listed file that is a link to another one of its size."""

from pathlib import Path

MESSAGE = r"encode.onnx is damaged: its sha256 is not"


def attack(bundle: Path) -> None:
    path = bundle / "encode.onnx"
    (bundle.parent / "other").write_bytes(bytes(path.stat().st_size))
    path.unlink()
    path.symlink_to(bundle.parent / "other")
