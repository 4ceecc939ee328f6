"""Every task on a CPU at published size: our bundles against transformers, torch.compile, plain ONNX exports and OpenVINO.

    python benchmarks/cpu.py                                         # all tasks and sides that can run here
    python benchmarks/cpu.py --tasks flow fill-mask --sides transformers ours "ours int8" --rounds 5 --json cpu.json
    python benchmarks/cpu.py --draw cpu.json docs/cpu.png            # a picture of an earlier run

Random weights, batch 1. Every measurement is a fresh process that loads, warms up once and calls once or more; sides take
turns; seconds are the median over rounds, memory the process's peak resident size (Linux). Errors are the largest, against
transformers in float32, as a share of the answer's largest value: of random weights, which int8 meets worse than trained
ones, so that an export in int8 is refused; here its graphs are timed all the same. A clip of `multimodal` is 128 chunks to
transformers, each of which encodes anew: one is timed, times 128. Needs the test dependencies, and OpenVINO for its sides
(pip install openvino). A plain export is torch.onnx.export of transformers' model, its one graph with all outputs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from cpu_sides import CLIP_CHUNKS, OURS, SIDES, TASKS, call_of, needs_openvino, prepare


def one_side(options: argparse.Namespace) -> None:
    """In the process of a side: its result as a line of JSON."""
    from perceiver_runtime.commands.benching.memory import peak_memory

    start = time.perf_counter()
    task, source = options.tasks[0], options.source
    call = call_of(task, options.side, source)
    loaded, load_peak = time.perf_counter() - start, peak_memory()
    call()
    start = time.perf_counter()
    answer = call()
    seconds = time.perf_counter() - start
    if (task, options.side) == ("multimodal", "transformers"):
        seconds *= CLIP_CHUNKS
    result = {"seconds": seconds, "load_seconds": loaded, "load_peak_bytes": load_peak, "peak_bytes": peak_memory()}
    np.save(options.answer, np.asarray(answer))
    print(json.dumps(result))


def run_task(task: str, sides: list[str], count: int, folder: Path) -> list[dict[str, Any]]:
    """All sides of a task, in turns."""
    sources = prepare(task, sides, folder)
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sources}
    answers: dict[str, Any] = {}
    for _ in range(count):
        for side, source in sources.items():
            command = [sys.executable, __file__, "--side", side, "--source", str(source), "--tasks", task]
            done = subprocess.run([*command, "--answer", str(folder / "a.npy")], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{task}, {side}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            rounds[side].append(json.loads(done.stdout.splitlines()[-1]))
            answers[side] = np.load(folder / "a.npy").reshape(-1)
    rows = []
    for side, found in rounds.items():
        if not found:
            continue
        seconds = statistics.median(row["seconds"] for row in found)
        row = {"task": task, "side": side, "seconds": seconds, "rounds": len(found)}
        row["load_seconds"] = statistics.median(each["load_seconds"] for each in found)
        for what in ("peak_bytes", "load_peak_bytes"):
            row[what] = max(each[what] for each in found)
        source = sources[side]
        files = source.parent.glob(f"{source.name}*") if source.is_file() else source.iterdir()
        row["file_bytes"] = sum(path.stat().st_size for path in files)
        if "transformers" in answers:
            reference = answers["transformers"]
            row["error"] = float(np.abs(answers[side] - reference).max() / np.abs(reference).max())
        rows.append(row)
        row["ratio"] = seconds / rows[0]["seconds"]
        error = f"{row['error']:9.1e}" if "error" in row else ""
        print(f"{task:14} {side:20} {seconds:9.3f} {row['ratio']:6.2f} {row['peak_bytes'] / 1e9:8.2f} {error}", flush=True)
    return rows


def draw(rows: list[dict[str, Any]], output: Path) -> None:
    """Bars of seconds for each task, ours in another colour."""
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.6 * columns, 3.2 * lines), layout="constrained", squeeze=False)
    for axis in axes.flat[len(tasks) :]:
        axis.remove()
    for axis, task in zip(axes.flat, tasks):
        own = [row for row in rows if row["task"] == task]
        colours = ["tab:orange" if row["side"] in OURS else "tab:gray" for row in own]
        bars = axis.barh([row["side"] for row in own], [row["seconds"] for row in own], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.margins(x=0.2)
        axis.invert_yaxis()
        axis.set(title=task, xlabel="seconds")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="default: all that can run here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draw", nargs=2, type=Path, metavar=("JSON", "PNG"), help="only draw what --json wrote before")
    for hidden in ("--side", "--source", "--answer"):
        parser.add_argument(hidden, type=str if hidden == "--side" else Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        one_side(options)
        return
    if options.draw:
        draw(json.loads(options.draw[0].read_text(encoding="utf-8")), options.draw[1])
        return
    has_openvino = importlib.util.find_spec("openvino") is not None
    options.sides = options.sides or [side for side in SIDES if has_openvino or not needs_openvino(side)]
    print(f"{'':35} {'seconds':>9} {'ratio':>6} {'peak GB':>8} {'error':>9}")
    rows = []
    for task in options.tasks:
        wanted = [side for side in options.sides if task != "multimodal" or side == "transformers" or side in OURS]
        with tempfile.TemporaryDirectory() as folder:
            rows += run_task(task, wanted, options.rounds, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
