"""`perceiver compare A B DATA`: how often two bundles of a task agree, how far apart their answers are, and which is faster."""

from __future__ import annotations

import argparse
import time
from itertools import islice
from typing import Any

import numpy as np

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_device, runtime_options
from perceiver_runtime.commands.quality.evaluate import call_options, metric_of
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.jobs.data import inputs
from perceiver_runtime.tasks.jobs.listing import read_entry
from perceiver_runtime.tasks.jobs.tally import SHOWN_ERRORS, Tally
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.metrics.labels import wilson
from perceiver_runtime.tasks.several import Answer, Item, answered

DIFFERENT = 10  # inputs that are named


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "compare",
        help="compare the answers of two bundles of a task on your data",
        description="Run both bundles on the same inputs, by turns: how often they agree, how far apart they are, how long "
        "each takes. Which of them is right is not asked: perceiver evaluate asks that.",
    )
    parser.add_argument("first", metavar="A", help="folder made by perceiver-export")
    parser.add_argument("second", metavar="B", help="another, of the same task: in lower precision, or trained longer")
    parser.add_argument("data", nargs="+", metavar="DATA", help="inputs as perceiver run takes them, folders, or a CSV file")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_device(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="inputs run at once (default: 1)")
    parser.set_defaults(function=run, render=render)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Answer each input twice. Raises `UsageError` for bundles of two tasks, `InputError` where nothing could be compared."""
    bundles = [open_bundle(folder) for folder in (arguments.first, arguments.second)]
    task, other = (check_task(bundle, None) for bundle in bundles)
    kinds = [task.kind(bundle.manifest) for bundle in bundles]
    if task is not other or kinds[0] is not kinds[1]:
        raise UsageError(
            f"{arguments.first} is for {task.name}, {arguments.second} for {other.name}, or they take other inputs"
        )
    metric, kind = metric_of(task, arguments.first), kinds[0]
    options = call_options(task, metric)
    entries = inputs(arguments.data, kind)
    left = iter(entries)
    tally, agreed, apart = Tally(0, len(entries)), [], []
    seconds: tuple[list[float], list[float]] = ([], [])
    different: list[dict[str, object]] = []
    chosen = runtime_options(arguments)
    with open_pipeline(bundles[0], chosen) as first, open_pipeline(bundles[1], chosen) as second, tally.bar():
        pipelines = (first, second)
        turn = 0
        while batch := [read_entry(entry, kind) for entry in islice(left, arguments.batch)]:
            if turn == 0:  # what takes longer the first time is not counted
                for pipeline in pipelines:
                    _timed(task, pipeline, batch, options)
            found: list[list[Answer]] = [[], []]
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                found[side], took = _timed(task, pipelines[side], batch, options)
                seconds[side].append(took / len(batch))
            turn += 1
            for (item, a), (_, b) in zip(*found):
                failed = next((each for each in (a, b) if isinstance(each, InputError)), None)
                tally.count(item.name, failed)
                if failed is None:
                    same, distances = metric.distance(a, b)
                    agreed.append(same)
                    apart.append(distances)
                    if not same and len(different) < DIFFERENT:
                        different.append({"input": item.name, **distances})
        counts: dict[str, Any] = tally.result()
        if not agreed:
            reason = counts["errors"][0]["error"] if counts.get("errors") else "there are none"
            raise InputError(f"no input could be compared: {reason}")
        providers = [pipeline.provider for pipeline in pipelines]
    medians = [float(np.median(each)) for each in seconds]
    sides = [
        {
            "bundle": str(bundle.folder),
            "precision": bundle.manifest.precision,
            "provider": provider,
            "seconds_per_input": median,
        }
        for bundle, provider, median in zip(bundles, providers, medians)
    ]
    measured = {name: [each[name] for each in apart] for name in apart[0]}
    return {
        "bundles": sides,
        "compared": len(agreed),
        **counts,
        "agree": sum(agreed) / len(agreed),
        "agree_interval": list(wilson(sum(agreed), len(agreed))),
        "apart": {name: {"mean": float(np.mean(each)), "largest": float(np.max(each))} for name, each in measured.items()},
        "times_as_fast": medians[0] / medians[1],
        "different": different,
    }


def _timed(task: Any, pipeline: Any, batch: list[Item], options: dict[str, Any]) -> tuple[list[Answer], float]:
    start = time.perf_counter()
    found = answered(batch, lambda items: task.answer(pipeline, items, options))
    return found, time.perf_counter() - start


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for letter, side in zip("AB", result["bundles"]):
        milliseconds = 1000 * side["seconds_per_input"]
        lines.append(f"{letter}: {side['bundle']}, {side['precision']}, on {side['provider']}: {milliseconds:.2f} ms an input")
    low, high = result["agree_interval"]
    lines.append(f"B is {result['times_as_fast']:.2f} times as fast as A (medians of calls by turns)")
    lines.append(
        f"the same on {result['agree']:.1%} of {result['compared']} inputs, "
        f"between {low:.1%} and {high:.1%} with 95 % confidence"
    )
    for name, row in result["apart"].items():
        lines.append(f"apart in {name.replace('_', ' ')}: {row['mean']:.3g} on average, {row['largest']:.3g} at most")
    if result["different"]:
        lines.append(f"not the same, the first {len(result['different'])}:")
        lines += [f"  {each['input']}" for each in result["different"]]
    if result["failed"] > SHOWN_ERRORS:
        lines.append(f"the first {SHOWN_ERRORS} of {result['failed']} errors are below")
    return "\n".join(lines)
