"""A path in a sparse attribute."""

from pathlib import Path

from forgery import constant, external, forge, sparse

MESSAGE = r"has the field 22 in an attribute"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(constant(sparse_value=sparse(external("/x")))))
