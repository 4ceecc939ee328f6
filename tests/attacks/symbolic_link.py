"""Listed files that are links to ones outside, as in a hub's cache: their bytes are what counts."""

from pathlib import Path

MESSAGE = None  # it opens, and computes what it should


def attack(bundle: Path) -> None:
    for name in ("encode.onnx", "weights.safetensors"):
        (bundle / name).rename(bundle.parent / f"blob-{name}")
        (bundle / name).symlink_to(bundle.parent / f"blob-{name}")
