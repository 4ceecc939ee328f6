"""The notebooks of examples/notebooks, for each task that ships and for fine-tuning: with outputs, which a run gives again."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from perceiver_deploy.tasks.registry import EXPORT_TASKS

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tools"))

from notebooks import NOTEBOOKS, run  # noqa: E402

NAMES = sorted([*(task for task, record in EXPORT_TASKS.items() if record.shipped), "fine-tuning"])
LARGEST = 200_000  # bytes of a notebook
EXPECTED = {  # what its outputs hold, beside pictures
    "flow": ["known answer right", "mean end-point error"],
    "fill-mask": ["known answer right"],
    "text-classification": ["known answer right", "a soup of beans and bacon"],
    "image-classification": ["known answer right", "right"],
    "multimodal": ["known answer right"],
    "features": ["known answer right", "(3, 256)"],
    "token-classification": ["known answer right", "PHONE", "+49 30 1234567"],
    "audio-classification": ["known answer right"],
    "fine-tuning": ["known answer right", "the same answer: 100"],
}
PICTURES = {"audio-classification": 1, "fine-tuning": 1, "flow": 2, "image-classification": 1, "multimodal": 1}
TABLES = {
    "audio-classification": 1,
    "fill-mask": 2,
    "fine-tuning": 1,
    "image-classification": 1,
    "multimodal": 1,
    "text-classification": 1,
    "token-classification": 1,
}


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def kinds(notebook: Any) -> list[list[str]]:
    """What each code cell shows."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[name for output in cell.outputs for name in sorted(output.get("data", [output.output_type]))] for cell in code]


def text(notebook: Any) -> str:
    found = []
    for output in outputs(notebook):
        assert output.output_type != "error", output
        found.append(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(found)


def check(name: str, notebook: Any) -> None:
    assert [each for each in EXPECTED[name] if each not in text(notebook)] == []
    shown = [name for cell in kinds(notebook) for name in cell]
    assert (shown.count("image/png"), shown.count("text/html")) == (PICTURES.get(name, 0), TABLES.get(name, 0))
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]


def test_there_is_one_for_each() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*")) == NAMES == sorted(EXPECTED)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored(name: str) -> None:
    """The outputs of a whole run, in order, small, with no path of the machine that ran it."""
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    check(name, notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    content = re.sub(r'"image/png": "[^"]*"', "", path.read_text())
    assert not re.search(r"/(root|home|tmp|work|usr|opt)/", content)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = run(path)
    check(name, notebook)
    assert kinds(notebook) == kinds(nbformat.read(path, as_version=4))
