"""Graphs that are run at the start of training."""

from pathlib import Path

from forgery import forge

MESSAGE = r"has the field 20 in a model"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.training_info.add())
