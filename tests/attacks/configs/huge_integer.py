"""An integer of thousands of digits."""

import json
from pathlib import Path

MESSAGE = r"d_latents is a number of \d+ bits"


def attack(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"d_latents": 10**4000}))
