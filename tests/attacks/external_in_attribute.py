"""A path in the value of a Constant."""

from pathlib import Path

from forgery import constant, external, forge

MESSAGE = r"has the field 5 in an attribute"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(constant(value=external("/etc/passwd"))))
