"""EPContext names a file with an engine, which is native code."""

from pathlib import Path

from forgery import forge
from onnx import helper

MESSAGE = r"uses the operator com.microsoft::EPContext"


def attack(bundle: Path) -> None:
    forge(
        bundle,
        lambda model: model.graph.node.append(
            helper.make_node("EPContext", [], [], domain="com.microsoft", ep_cache_context="/x")
        ),
    )
