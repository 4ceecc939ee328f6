"""Commands that start another Python, whose module path has no current folder.

`python -m` and `python -c` put the current folder first on the module path, and that may be a checkpoint's, a bundle's or any
download's: a queue.py or numpy.py there would be run. Python 3.11 has `-P` against that; this is the same for 3.10 too.
"""

from __future__ import annotations

import sys
from pathlib import Path

_WITHOUT_CURRENT_FOLDER = "import sys; sys.path[:] = [entry for entry in sys.path if entry]\n"
_MODULE = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


def python_code(code: str, python: str | Path = sys.executable) -> list[str]:
    """The command that runs `code`; the program's arguments go after it."""
    return [str(python), "-c", _WITHOUT_CURRENT_FOLDER + code]


def python_module(name: str, python: str | Path = sys.executable) -> list[str]:
    """The command that runs a module as `python -m` does; the program's arguments go after it."""
    return [*python_code(_MODULE, python), name]
