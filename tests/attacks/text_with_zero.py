"""A location that ends early for some readers."""

from pathlib import Path

from forgery import external, forge

MESSAGE = r"has a zero byte in a text"


def attack(bundle: Path) -> None:
    forge(bundle, lambda model: model.graph.initializer.append(external("weights.safetensors\0../outside")))
