"""The weights are written over in place while a pipeline is open, as cp and rsync --inplace do."""

from pathlib import Path

from forgery import other_weights

MESSAGE = r"weights.safetensors was changed while it was in use: .* write the new bundle beside it and rename"
WHEN = "loaded"


def attack(bundle: Path) -> None:
    other_weights(bundle)
