"""NaN, which JSON does not have."""

from pathlib import Path

MESSAGE = r"holds NaN, which is not JSON"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text('{"task": NaN}')
