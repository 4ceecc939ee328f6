"""A model of 10**8 blocks."""

import json
from pathlib import Path

MESSAGE = r"num_blocks is 100000000, expected 1 to 1024"


def attack(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_blocks": 10**8}))
