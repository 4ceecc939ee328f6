"""docs/graphs.md and docs/bundle.md against the bundles of all shipped checkpoints: every tensor, constant and key is named."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import pages
from test_documentation import BUNDLES

PAGES = pages()
GRAPHS, BUNDLE = PAGES["docs/graphs.md"], PAGES["docs/bundle.md"]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables below a heading; an empty first cell means the one above."""
    (text,) = (part for part in re.split(r"^#+ ", page, flags=re.MULTILINE) if part.startswith(heading + "\n"))
    found: list[list[str]] = []
    for line in re.findall(r"^\|(.*)\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in line.split("|")]
        found.append([cells[0] or (found[-1][0] if found else ""), *cells[1:]])
    return found


def missing(manifest: dict[str, Any], graphs: list[list[str]], constants: list[list[str]]) -> list[str]:
    """What a manifest has and the page does not say."""
    said = {(row[0], row[1].strip("`")): row for row in graphs}
    left = []
    for name, graph in manifest["graphs"].items():
        row = said.get((manifest["task"], name))
        for side, cell in ((graph["inputs"], 2), (graph["outputs"], 3)):
            left += [spec["name"] for spec in side if row is None or f"`{spec['name']}`" not in row[cell]]
    keys = " ".join(row[1] for row in constants)
    return left + [key for key in manifest["processor"] if f"`{key}`" not in keys]


@pytest.mark.parametrize("task", sorted(set(BUNDLES.values()) - {"features"}))
def test_tensors_constants_and_keys_are_on_the_page(task: str, shipped: Callable[..., Path]) -> None:
    folder = shipped(task)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    graphs, constants = rows(GRAPHS, "Graphs"), rows(GRAPHS, "Constants")
    assert missing(manifest, graphs, constants) == []
    assert missing({**manifest, "processor": {"shade": 1}}, graphs, constants) == ["shade"]
    assert "latents" in missing(manifest, graphs[:2], constants)
    keys = [row[0].strip("`") for row in rows(BUNDLE, "manifest.json")]
    assert keys[2 : 2 + len(manifest)] == [*manifest]
    (known,) = (row for row in rows(BUNDLE, "The known answer") if task in row[0].split(", "))
    with np.load(folder / "sample.npz") as arrays:
        for name in arrays.files:
            side, _, short = name.partition(".")
            assert f"`{short}`" in known[1 if side == "input" else 2], (task, name)
