"""Many small images through a bundle, with Ray and with a plain process pool: seconds of the whole command, memory of workers.

    python benchmarks/ray_table.py digits                                       # 3,000 images, two workers, three rounds
    python benchmarks/ray_table.py sentiment --texts --count 200 --json ray.json  # memory shows with large weights

Sides take turns, each a fresh process that starts its workers, loads the bundle in each, reads every file, and writes a table.
`pool` calls the pipeline for each image, `pool of batches` for 64 at once, as the job does where rows are cheap. Seconds are
the median over rounds; a ratio is to the `pool` of the same run. Memory is the proportional set size (PSS: shared pages are
counted once) of all worker processes together, the most that was seen (Linux). With `--count 1` a run shows what starting
costs. Needs `perceiver-runtime[cpu,images,ray]`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import perceiver_runtime as pr

JOB = Path(__file__).parent.parent / "examples" / "ray_table.py"
WORKER_NAMES = (b"ray::Actor", b"multiprocessing.spawn")
_state: dict[str, Any] = {}


def _open(bundle: str) -> None:
    _state["pipeline"] = pr.load(bundle, device="cpu", threads=1)


def _answer(items: list[str]) -> list[tuple[str, float]]:
    return [(best.label, best.probability) for (best,) in _state["pipeline"](items, top_k=1)]


def pool(bundle: str, source: str, output: str, workers: int, batch: int) -> None:
    """What one would write without Ray."""
    import pyarrow.parquet

    names = sorted(os.listdir(source))
    files = [os.path.join(source, name) for name in names]
    items = [line for file in files for line in Path(file).read_text().splitlines()] if names[0].endswith(".txt") else files
    with multiprocessing.get_context("spawn").Pool(workers, _open, (bundle,)) as processes:
        parts = [items[start : start + batch] for start in range(0, len(items), batch)]
        answers = [answer for part in processes.imap(_answer, parts) for answer in part]
    columns = {"input": items, "label": [label for label, _ in answers], "probability": [each for _, each in answers]}
    pyarrow.parquet.write_table(pyarrow.table(columns), output)


def prepare(folder: Path, count: int, *, texts: bool) -> None:
    """Images of 32×32, or lines of text."""
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(0)
    if texts:
        (folder / "texts.txt").write_text("\n".join(f"text {number} of a few words" for number in range(count)))
        return
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (32, 32), np.uint8)).save(folder / f"{number:05}.png")


def worker_memory(parent: int) -> int:
    """Bytes of the worker processes that descend from `parent`."""
    processes: dict[int, tuple[int, bool]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            processes[int(entry.name)] = (above, any(name in (entry / "cmdline").read_bytes() for name in WORKER_NAMES))
        except (OSError, ValueError):  # it has just ended
            continue
    total = 0
    for number, (above, is_worker) in processes.items():
        while is_worker and above in processes and above != parent:
            above = processes[above][0]
        if is_worker and above == parent:
            try:
                text = Path(f"/proc/{number}/smaps_rollup").read_text()
            except OSError:
                continue
            total += int(text.partition("\nPss:")[2].split()[0]) << 10
    return total


def timed(command: list[str]) -> tuple[float, int]:
    """Seconds and bytes of a side."""
    start, most = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, worker_memory(process.pid))
            time.sleep(0.25)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, most


def main() -> None:
    """Prepare, run the sides in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of an image-classification, or with --texts of a text-classification")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", action="store_true", help="texts in place of images")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pool", nargs=3, help=argparse.SUPPRESS)  # a side: source, output, rows of a call
    options = parser.parse_args()
    bundle, workers = str(options.bundle.absolute()), options.workers
    if options.pool:
        pool(bundle, options.pool[0], options.pool[1], workers, int(options.pool[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "inputs", Path(name) / "out"
        prepare(source, options.count, texts=options.texts)
        own = [sys.executable, __file__, bundle, "--workers", str(workers), "--pool", str(source), f"{output}.parquet"]
        job = [sys.executable, str(JOB), bundle, str(source), str(output), "--fresh"]
        sides = {
            "pool": [*own, "1"],
            "pool of batches": [*own, "64"],
            f"Ray, {workers} actors": [*job, "--actors", str(workers)],
            f"Ray, an actor with --parallel {workers}": [*job, "--parallel", str(workers)],
        }
        found: dict[str, list[tuple[float, int]]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, command in sides.items():
                found[side].append(timed(command))
    seconds = {side: statistics.median(each for each, _ in rounds) for side, rounds in found.items()}
    load = os.getloadavg()[1]
    rows: list[dict[str, Any]] = [
        {"side": side, "seconds": value, "ratio": value / seconds["pool"], "worker_bytes": max(size for _, size in found[side])}
        for side, value in seconds.items()
    ]
    for row in rows:
        print(f"{row['side']:32} {row['seconds']:7.1f} s  {row['ratio']:5.2f}  {row['worker_bytes'] / 1e6:7.0f} MB")
    print(f"{options.count} inputs, {options.rounds} rounds, {os.cpu_count()} cores, load average {load:.1f} at the end")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "count": options.count, "load": load}, indent=2))


if __name__ == "__main__":
    main()
