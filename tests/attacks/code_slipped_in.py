"""Python beside the graphs: it is ignored."""

from pathlib import Path

MESSAGE = None  # it opens, and computes what it should


def attack(bundle: Path) -> None:
    (bundle / "model.py").write_text(f"open({str(bundle.parent / 'was-run')!r}, 'w')")
    (bundle / "onnxruntime.py").write_text(f"open({str(bundle.parent / 'was-run')!r}, 'w')")
