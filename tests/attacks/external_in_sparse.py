"""A path in the values of a sparse initializer."""

from pathlib import Path

from forgery import external, forge, sparse

MESSAGE = r"has the field 15 in a graph"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.sparse_initializer.append(sparse(external("/x"))))
