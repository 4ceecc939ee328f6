"""How time and memory grow with the number of inputs and of queries, on this machine's CPU. Linearly, is the promise.

    python benchmarks/growth.py                                    # 10,000 to 1,000,000 inputs and queries
    python benchmarks/growth.py --json growth.json --plot growth.png

Inputs: a bare model of published flow's channels (322; random weights, 512 latents, two layers) on vectors. Queries: the
decoder of published flow, random weights, in the runtime's chunks. Each point is a fresh process: the median of `--runs` calls
after one, and the process's peak memory beyond what it had before the first (Linux). An exponent is the slope of the
least-squares line through the logarithms. Time at small sizes holds what does not grow, the latents' own layers: it is measured
on 100 inputs or queries and taken off. Needs the test dependencies.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bundle_run import measure

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.benching.memory import peak_memory
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

SIZES = (10_000, 31_623, 100_000, 316_228, 1_000_000)
FIXED = 100
CHANNELS = 322


def export_bundles(folder: Path) -> dict[str, Path]:
    """A bundle whose inputs grow, and one whose queries do."""
    from cases import save_random
    from transformers import PerceiverConfig, PerceiverModel

    from perceiver_deploy import export_bundle

    widths: dict[str, Any] = {"num_latents": 512, "d_latents": 512, "d_model": CHANNELS}
    heads: dict[str, Any] = {"num_self_attention_heads": 8, "num_cross_attention_heads": 1}
    config = PerceiverConfig(**widths, **heads, num_blocks=1, num_self_attends_per_block=2)
    PerceiverModel(config).save_pretrained(folder / "checkpoint")
    export_bundle(task="features", checkpoint=folder / "checkpoint", output=folder / "inputs")
    save_random("flow", folder / "flow")
    export_bundle(task="flow", checkpoint=folder / "flow", output=folder / "queries")
    return {"inputs": folder / "inputs", "queries": folder / "queries"}


def call_on(kind: str, bundle: Path, size: int) -> Callable[[], None]:
    """The work on `size` inputs or queries."""
    pipeline: Any = open_pipeline(open_bundle(bundle), RuntimeOptions("cpu"))
    rng = np.random.default_rng(0)
    if kind == "inputs":
        given = {"inputs": rng.standard_normal((1, size, CHANNELS), np.float32), "attention_mask": np.ones((1, size), np.int64)}
        return lambda: pipeline.run("encode", given, shape=(1, None, None))
    shapes = {
        spec.name: [each if isinstance(each, int) else 1 for each in spec.shape]
        for spec in pipeline.graphs["decode"].entry.inputs
    }
    latents = rng.standard_normal(shapes["latents"], np.float32)
    features = rng.standard_normal((1, size, shapes["query_features"][2]), np.float32)
    positions = rng.uniform(-1, 1, (1, size, 2)).astype(np.float32)
    chunk = pipeline.processor.query_chunk

    def decode() -> None:
        for start in range(0, size, chunk):
            rows = np.s_[:, start : start + chunk]
            given = {"latents": latents, "query_features": features[rows], "query_positions": positions[rows]}
            pipeline.run("decode", given, shape=(1, None, 2))

    return decode


def one_point(kind: str, bundle: Path, size: int, runs: int) -> dict[str, float]:
    """In a process of its own."""
    call = call_on(kind, bundle, size)
    before = peak_memory() or 0
    seconds = measure(call, runs=runs, warm_up=1)["median"]
    return {"seconds": seconds, "bytes": (peak_memory() or 0) - before}


def exponent(sizes: list[int], values: list[float]) -> float:
    """Of the power of the size that the values follow."""
    slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(slope)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Both curves against a line."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, kind in zip(axes, ("inputs", "queries")):
        own = [row for row in rows if row["kind"] == kind]
        sizes, seconds = [row["size"] for row in own], [row["seconds"] for row in own]
        axis.loglog(sizes, seconds, "o-", label="measured")
        axis.loglog(sizes, [seconds[-1] * size / sizes[-1] for size in sizes], "--", color="grey", label="linear")
        axis.set(xlabel=kind, title=f"growth with {kind}")
        axis.legend()
    axes[0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print the table and exponents, write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    hidden: dict[str, Callable[[str], Any]] = {"--kind": str, "--bundle": Path, "--size": int}
    for name, read in hidden.items():
        parser.add_argument(name, type=read, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(one_point(options.kind, options.bundle, options.size, options.runs)))
        return
    rows, exponents = [], {}
    print(f"{'':8} {'size':>9} {'seconds':>9} {'GB more':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for kind, bundle in export_bundles(Path(folder)).items():
            points = []
            for size in (FIXED, *SIZES):
                command = [sys.executable, __file__, "--kind", kind, "--bundle", str(bundle), "--size", str(size)]
                done = subprocess.run([*command, "--runs", str(options.runs)], capture_output=True, text=True, check=True)
                points.append({"kind": kind, "size": size, **json.loads(done.stdout.splitlines()[-1])})
                print(f"{kind:8} {size:9} {points[-1]['seconds']:9.3f} {points[-1]['bytes'] / 1e9:8.2f}", flush=True)
            fixed, *grown = points
            exponents[kind] = exponent(list(SIZES), [point["seconds"] - fixed["seconds"] for point in grown])
            print(f"{kind}: time grows with the power {exponents[kind]:.2f}")
            rows += grown
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "exponents": exponents}, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
