"""How a server answers many clients: calls a second, and how long a call takes, of a bundle's own sample.

    python benchmarks/serving_load.py localhost:8001 digits glosses flow [--threads 16] [--calls 100] [--name NAME]

Each thread makes so many calls of `perceiver_runtime.connect`, one after the other; a call is the bundle's known answer,
encode and decode, and is compared with the answer of this machine's CPU. One line for each bundle, as a row of docs/scale.md.
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import perceiver_runtime as pr
from perceiver_runtime.tasks.known_answer import FILE, Sample


def main() -> None:
    """Measure each bundle after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("address")
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--name", help="of the models there (default: the bundle's folder)")
    arguments = parser.parse_args()
    print("| task | calls | a second | p50 ms | p99 ms | errors | largest difference |")
    for bundle in arguments.bundles:
        print(measured(arguments, bundle), flush=True)


def measured(arguments: argparse.Namespace, bundle: Path) -> str:
    """A row."""
    inputs = Sample.read((bundle / FILE).read_bytes()).inputs
    with pr.load(bundle, device="cpu", threads=1) as local:
        task, expected = local.manifest.task, local.known_answer(inputs)
    seconds: list[float] = []
    errors: list[str] = []
    differences: list[float] = [0.0]
    start = threading.Barrier(arguments.threads)

    def client(_: int) -> None:
        start.wait()
        for _ in range(arguments.calls):
            begin = time.perf_counter()
            try:
                found = remote.known_answer(inputs)
            except pr.BackendError as error:
                errors.append(str(error))
                continue
            seconds.append(time.perf_counter() - begin)
            differences.append(max(float(np.abs(found[name] - array).max()) for name, array in expected.items()))

    with pr.connect(arguments.address, bundle=bundle, name=arguments.name, timeout=300) as remote:
        remote.known_answer(inputs)
        begin = time.perf_counter()
        with ThreadPoolExecutor(arguments.threads) as pool:
            list(pool.map(client, range(arguments.threads)))
        whole = time.perf_counter() - begin
    if not seconds:
        return f"| {task} | 0 | | | | {len(errors)}: {errors[0]} | |"
    p50, p99 = (1000 * float(each) for each in np.percentile(seconds, [50, 99]))
    rate = len(seconds) / whole
    return f"| {task} | {len(seconds)} | {rate:.0f} | {p50:.0f} | {p99:.0f} | {len(errors)} | {max(differences):.1e} |"


if __name__ == "__main__":
    main()
