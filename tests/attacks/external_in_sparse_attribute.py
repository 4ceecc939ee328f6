"""A path in a sparse attribute."""

from pathlib import Path

from forgery import constant, external, forge, sparse

MESSAGE = r"decode.onnx takes external data from .* which is not the bundle's weights file"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.node.append(constant(sparse_value=sparse(external("/x")))))
