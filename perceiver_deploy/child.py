"""Starting Python so that it imports nothing from where the user happens to be.

With `-m` the current folder is the first place that Python imports from, and an empty entry of PYTHONPATH means it too: a file
`queue.py` beside a checkpoint would run. `-I` leaves both out, on Python 3.10 as well; what else this process imports from
comes after the standard library and the installed packages.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_START = (
    "import json, runpy, sys; sys.path += [path for path in json.loads(sys.argv.pop(1)) if path not in sys.path]; "
    "module = sys.argv.pop(1); runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def python_command(module: str, *, never: Iterable[Path] = ()) -> list[str]:
    """The command that runs `module` as a process; never importing from the current folder, nor from the folders `never`."""
    refused = {os.path.realpath(folder) for folder in (Path.cwd(), *never)}
    paths = [path for path in sys.path if os.path.isabs(path) and os.path.realpath(path) not in refused]
    return [sys.executable, "-I", "-c", _START, json.dumps(paths), module]
