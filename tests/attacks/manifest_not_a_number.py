"""NaN, which JSON does not have."""

from pathlib import Path

MESSAGE = r"holds NaN, which is not JSON of 64-bit numbers"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text('{"task": NaN}')
