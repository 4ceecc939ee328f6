"""A domain declared only."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"uses operators of the domain 'evil'"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.opset_import.append(helper.make_opsetid("evil", 1)))
