"""A key that a later version may act on."""

import json
from pathlib import Path

MESSAGE = r"manifest has unknown keys \['run'\]"


def attack(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "rm"}))
