"""From nothing to the first answer: import, load and first call of a bundle, each time in a new process, without torch.

    python benchmarks/cold_start.py BUNDLE … [--device cpu] [--runs 10]

Medians, in milliseconds; the input is the one that comes with the bundle. Files are in the system's cache after the first run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess

from perceiver_runtime.common.children import python_code

PROGRAM = """
import json, sys, time
start = time.perf_counter()
import perceiver_runtime as pr
imported = time.perf_counter()
pipeline = pr.load(sys.argv[1], device=sys.argv[2])
loaded = time.perf_counter()
from perceiver_runtime.tasks.known_answer import FILE, Sample
from pathlib import Path
inputs = Sample.read(Path(sys.argv[1]) / FILE).inputs
read = time.perf_counter()
pipeline.known_answer(inputs)
first = time.perf_counter()
pipeline.known_answer(inputs)
second = time.perf_counter()
print(json.dumps({"import": imported - start, "load": loaded - imported, "first": first - read, "second": second - first}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    print(f"{'milliseconds':28}{'import':>9}{'load':>9}{'first':>9}{'second':>9}")
    for bundle in options.bundles:
        rows = []
        for _ in range(options.runs):
            command = [*python_code(PROGRAM), bundle, options.device]
            rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        medians = [1000 * statistics.median(row[name] for row in rows) for name in rows[0]]
        print(f"{bundle:28}" + "".join(f"{each:9.1f}" for each in medians))


if __name__ == "__main__":
    main()
