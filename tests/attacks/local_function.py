"""Operators of the graph's own."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"has the field 25 in a model"


def attack(bundle: Path) -> None:
    forge(
        bundle,
        lambda model: model.functions.append(helper.make_function("evil", "f", [], [], [], [helper.make_opsetid("", 18)])),
    )
