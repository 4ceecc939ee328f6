"""The weights are cut short while a pipeline is open: the next run would end the process."""

import os
from pathlib import Path

from forgery import WEIGHTS

MESSAGE = r"weights.safetensors was changed while it was in use"
WHEN = "loaded"


def attack(bundle: Path) -> None:
    os.truncate(bundle / WEIGHTS, 100)
