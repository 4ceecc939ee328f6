"""In an environment with Ray: the job, called several times in one process.

    echo '[["BUNDLE", "INPUT", "OUTPUT", "--fresh"], …]' | python ray_calls.py

Prints JSON: of each call its exit code, stdout, stderr, the rows and the number of files that are in OUTPUT then, and whether
Ray was imported by then.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet

from perceiver_runtime.ray.command import main


def called(arguments: list[str]) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: Any = main(arguments)
        except SystemExit as error:  # of argparse
            code = error.code
    ray = sys.modules.get("ray")
    folder = Path(arguments[2])
    rows = pyarrow.parquet.read_table(folder).to_pylist() if list(folder.glob("[!.]*.parquet")) else []
    files = len(list(folder.glob("[!.]*.parquet")))
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "rows": rows, "files": files, "ray": ray is not None}


if __name__ == "__main__":
    print(json.dumps([called(each) for each in json.load(sys.stdin)], default=repr))
