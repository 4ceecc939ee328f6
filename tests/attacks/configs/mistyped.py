"""A text where a number should be."""

import json
from pathlib import Path

MESSAGE = r"d_latents"


def attack(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"d_latents": "many"}))
