"""`perceiver bench BUNDLE`: how long a bundle takes on this machine, per stage, and how much memory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from perceiver_runtime.bundle.choices import Choices
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_bundle, add_device, runtime_options
from perceiver_runtime.commands.benching import under_load
from perceiver_runtime.commands.benching.memory import peak_memory
from perceiver_runtime.commands.benching.peak import matrix_peak
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.outputs import progress
from perceiver_runtime.tasks.pipeline import FUSED, Pipeline

PERCENTILES = (50, 90, 99)
STAGES = ("preprocess", "encode", "decode", "postprocess")


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "bench",
        help="measure time and memory of a bundle on this machine",
        description="Run the input that comes with a bundle again and again: percentiles of each stage and of the whole call, "
        "inputs per second, memory. On a Jetson, set the power mode first (nvpmodel, jetson_clocks).",
    )
    add_bundle(parser)
    add_device(parser)
    parser.add_argument("--runs", type=positive, help="calls measured (default: 20)")
    parser.add_argument("--warm-up", type=positive, default=3, metavar="N", help="calls before (default: 3)")
    help_text = "inputs in a call, for texts, images and features (default: 1)"
    parser.add_argument("--batch", type=positive, nargs="+", metavar="N", help=help_text)
    under_load.add_arguments(parser)
    parser.set_defaults(function=run, render=render)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Load, warm up, measure; with the options of `under_load`, that."""
    if under_load.asked(arguments):
        return under_load.run(arguments)
    runs, sizes = arguments.runs or 20, arguments.batch or [1]
    bundle = open_bundle(arguments.bundle)
    task = check_task(bundle, None)
    inputs = Sample.read(bundle.read(FILE)).inputs
    item = task.kind(bundle.manifest).from_sample(inputs)
    start = time.perf_counter()
    with open_pipeline(bundle, runtime_options(arguments)) as pipeline:
        loaded = time.perf_counter() - start
        batches: list[dict[str, Any]] = []
        for size in sizes if task.batched else [1]:
            call = task.call(pipeline, item, size)
            seconds = measure(pipeline, call, runs, arguments.warm_up)
            rows = {name: percentiles(values) for name, values in seconds.items()}
            batches.append({"batch": size, "seconds": rows, "inputs_per_second": size / rows["call"]["p50"]})
        shapes = {name: list(array.shape) for name, array in inputs.items()}
        counted = task.fixed_size and batches[0]["batch"] == 1
        speed = gigaflops(bundle.manifest, batches[0]["seconds"]) if counted else None
        result: dict[str, object] = {name: getattr(bundle.manifest, name) for name in ("task", "precision")}
        result |= {"bundle": str(bundle.folder), "provider": pipeline.provider, "load_seconds": loaded}
        result |= {"sample": shapes, "runs": runs}
        memory = peak_memory()
        if speed is not None:
            peak, whose = matrix_peak(pipeline.provider, pipeline.arithmetic, bundle.manifest.precision, arguments.threads)
            result |= {"gigaflops": speed, "matrix_peak_gigaflops": peak, "peak_of": whose, "share_of_peak": speed / peak}
        return {**result, "batches": batches, "peak_memory_bytes": memory}


def measure(pipeline: Pipeline, call: Callable[[], object], runs: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds of each of `runs` calls: `call`, and those of its stages."""
    report = progress("calls")
    for _ in range(warm_up):
        call()
    seconds: dict[str, list[float]] = {name: [] for name in ("call", *STAGES)}
    for done in range(1, runs + 1):
        before, start = pipeline.timing.seconds(), time.perf_counter()
        call()
        seconds["call"].append(time.perf_counter() - start)
        after = pipeline.timing.seconds()
        for stage in STAGES:
            seconds[stage].append(after[stage] - before[stage])
        report(done, runs)
    return seconds


def gigaflops(manifest: Manifest, seconds: dict[str, dict[str, float]]) -> float | None:
    """Operations a second while graphs run, in thousands of millions: what the export counted over the median.

    None for a bundle without such a count.
    """
    work = Choices.of(manifest).cost
    if work is None:
        return None
    flops = sum(costs.after.flops for name, costs in work.graphs.items() if name != FUSED)
    return flops / (seconds["encode"]["p50"] + seconds["decode"]["p50"]) / 1e9


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p90 and p99."""
    return {f"p{percentile}": float(np.percentile(values, percentile)) for percentile in PERCENTILES}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    if "loads" in result:
        return under_load.render(result)
    sample = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in result["sample"].items())
    lines = [
        f"{result['bundle']}: {result['task']}, {result['precision']}, on {result['provider']}; loaded in "
        f"{result['load_seconds']:.2f} s",
        f"{result['runs']} calls with {sample}",
    ]
    for each in result["batches"]:
        lines.append(f"batch {each['batch']}: {each['inputs_per_second']:.3g} a second")
        lines.append("  " + " " * 12 + "".join(f"{f'p{percentile}':>12}" for percentile in PERCENTILES))
        for name, row in each["seconds"].items():
            lines.append(f"  {name:12}" + "".join(f"{1000 * value:9.2f} ms" for value in row.values()))
    if "gigaflops" in result:
        share, peak = result["share_of_peak"], result["matrix_peak_gigaflops"]
        lines.append(f"graphs at {result['gigaflops']:.0f} GFLOP/s, {share:.0%} of {result['peak_of']}, {peak:.0f}")
    if result["peak_memory_bytes"] is not None:
        lines.append(f"peak memory of the process: {result['peak_memory_bytes'] / 1e6:.0f} MB")
    return "\n".join(lines)
