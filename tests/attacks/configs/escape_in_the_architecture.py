"""The name of the architecture clears the screen."""

import json
from pathlib import Path

MESSAGE = r"\\x1b\[2J"


def attack(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": None, "model_type": "\x1b[2J"}))
