"""External data in the branch of an If."""

from pathlib import Path

from forgery import constant, external, forge, subgraph

MESSAGE = r"has the field 6 in an attribute"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(subgraph(constant(value=external("/etc/passwd")))))
