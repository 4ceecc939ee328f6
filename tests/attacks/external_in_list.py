"""A path in an attribute that is a list of tensors."""

from pathlib import Path

from forgery import constant, external, forge

MESSAGE = r"has the field 10 in an attribute"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(constant(values=[external("/etc/passwd")])))
