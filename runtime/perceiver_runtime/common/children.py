"""Commands that start another Python, whose module path has no current folder.

`python -m` and `python -c` put the current folder first on the module path, and that may be a checkpoint's, a bundle's or any
download's: a queue.py or numpy.py there would be run. Python 3.11 has `-P` against that; this is the same for 3.10 too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_WITHOUT_CURRENT_FOLDER = "import sys; sys.path[:] = [entry for entry in sys.path if entry]\n"
_MODULE = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
_WITH_OUR_PATH = "import json, sys; sys.path += [path for path in json.loads(sys.argv.pop(1)) if path not in sys.path]\n"
_WITH_LIMITS = (
    "import json, resource, sys\n"
    "for name, (soft, hard) in json.loads(sys.argv.pop(1)).items():\n"
    "    kind = getattr(resource, name)\n"
    "    most = resource.getrlimit(kind)[1]\n"
    "    allowed = [number if most == resource.RLIM_INFINITY else min(number, most) for number in (soft, hard)]\n"
    "    resource.setrlimit(kind, tuple(allowed))\n"
)


def python_code(code: str, python: str | Path = sys.executable) -> list[str]:
    """The command that runs `code`; the program's arguments go after it."""
    return [str(python), "-c", _WITHOUT_CURRENT_FOLDER + code]


def python_module(name: str, python: str | Path = sys.executable) -> list[str]:
    """The command that runs a module as `python -m` does; the program's arguments go after it."""
    return [*python_code(_MODULE, python), name]


def own_module(name: str, *, never: Iterable[Path] = (), limits: Mapping[str, tuple[int, int]] | None = None) -> list[str]:
    """The command that runs a module with this process's own Python, for a child that works with files from outside.

    An empty entry of PYTHONPATH means the current folder as well; `-I` leaves it out, with the user's own packages. What else
    this process imports from comes after the standard library and the installed packages; never the current folder, nor the
    folders `never`. `limits`, soft and hard by their names in Python's module resource, are set before anything is imported.
    """
    refused = {os.path.realpath(folder) for folder in (Path.cwd(), *never)}
    paths = [path for path in sys.path if os.path.isabs(path) and os.path.realpath(path) not in refused]
    limited = [_WITH_LIMITS, json.dumps(dict(limits))] if limits else [""]
    code = limited.pop(0) + _WITH_OUR_PATH + _MODULE
    return [sys.executable, "-I", "-c", code, *limited, json.dumps(paths), name]
