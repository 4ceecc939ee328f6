"""The bundle is removed while a pipeline is open: what was opened stays."""

import shutil
from pathlib import Path

MESSAGE = None  # it opens, and computes what it should
WHEN = "loaded"


def attack(bundle: Path) -> None:
    shutil.rmtree(bundle)
