"""The notebooks of examples/notebooks, run from top to bottom: `python tools/notebooks.py [NAME …]` writes their outputs anew.

Names are those of tasks. A notebook works in a temporary folder of its own, so that no output holds a path of this machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "examples" / "notebooks"
SECONDS = 1800  # of a cell, at most


def run(path: Path) -> Any:
    """The notebook with the outputs of this run. Raises nbclient's `CellExecutionError`."""
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", record_timing=False, coalesce_streams=True)
    client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"].pop("image/jpeg", None)  # the same picture again
    return notebook


def main() -> int:
    """Run those named, or all."""
    chosen = [NOTEBOOKS / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in chosen:
        print(path.name, flush=True)
        nbformat.write(run(path), path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
