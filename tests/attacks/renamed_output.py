"""Another output than the manifest promises."""

from pathlib import Path

from forgery import forge

MESSAGE = r"has other outputs than the manifest says"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: setattr(model.graph.output[0], "name", "other"))
