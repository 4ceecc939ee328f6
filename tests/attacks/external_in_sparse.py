"""A path in the values of a sparse initializer."""

from pathlib import Path

from forgery import external, forge, sparse

MESSAGE = r"decode.onnx takes external data from .* which is not the bundle's weights file"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.sparse_initializer.append(sparse(external("/x"))))
