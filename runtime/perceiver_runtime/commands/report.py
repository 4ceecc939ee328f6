"""`perceiver report BUNDLE …`: how bundles do on a device that this project does not have, in one JSON file to send back.

What it does: `doctor`, `build` for TensorRT, `verify`, `bench`, memory, and each bundle's answer against the first one's. What
fails is in the report, and the rest goes on. Names of this machine, its user and its folders are not in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from perceiver_runtime.backends.cache_folder import write_whole
from perceiver_runtime.backends.cuda import cuda
from perceiver_runtime.backends.placement import Placement
from perceiver_runtime.backends.tensorrt.backend import unavailable_reason
from perceiver_runtime.bundle.reader import Bundle, open_bundle
from perceiver_runtime.commands import bench, build, doctor, verify
from perceiver_runtime.commands.anonymous import anonymous
from perceiver_runtime.commands.arguments import device
from perceiver_runtime.common.errors import PerceiverError
from perceiver_runtime.common.terminal import json_text
from perceiver_runtime.tasks.arguments import positive
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.outputs import add_force, check_outputs, progress_line
from perceiver_runtime.tasks.pipeline import RuntimeOptions

FORMAT = 1
ENGINES = ("tensorrt", "tensorrt-rtx")  # devices that something is built for


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "report",
        help="measure a device with some bundles, into one file to send back",
        description="Run doctor, build, verify and bench on bundles and compare their answers with the first one's, which "
        "should be the fp32 bundle of the same checkpoint. Writes one JSON file without names of this machine, its user or its "
        "folders. On a Jetson, set the power mode first (nvpmodel, jetson_clocks).",
    )
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="folder made by perceiver-export, the fp32 one first")
    parser.add_argument("--json", action="store_true", help="print the report itself, too")
    parser.add_argument("-o", "--output", default="perceiver-report.json", metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", type=device, metavar="DEVICE", help="as for perceiver run (default: auto)")
    parser.add_argument("--runs", type=positive, default=100, help="calls measured (default: 100)")
    parser.add_argument("--workspace", metavar="MEMORY", help="for building engines, such as 1GB (default: all there is)")
    add_force(parser)
    parser.set_defaults(function=run, render=render)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Do all of it and write the file. Raises `InputError` where the file cannot be written."""
    (path,) = check_outputs([arguments.output], force=arguments.force)
    names = {name: f"bundle {number}" for number, name in enumerate(arguments.bundles, 1)}
    start = time.time()
    result: dict[str, Any] = {"perceiver_report": FORMAT, "made": time.strftime("%Y-%m-%d", time.gmtime())}
    result |= {"device": arguments.device, "machine": doctor.machine()}
    answers: dict[str, Any] = {}
    result["bundles"] = [_bundle(folder, arguments, answers) for folder in arguments.bundles]
    result["seconds"] = time.time() - start
    report: dict[str, Any] = anonymous(result, names)
    write_whole(path, json_text(report).encode())
    return report | {"file": str(path)}


def _bundle(folder: str, arguments: argparse.Namespace, answers: dict[str, Any]) -> dict[str, Any]:
    """All steps of one bundle; in place of one that failed, why."""
    found: dict[str, Any] = {"bundle": folder}
    try:
        bundle = open_bundle(folder)
    except PerceiverError as error:
        return found | {"failed": str(error)}
    manifest = bundle.manifest
    found |= {name: getattr(manifest, name) for name in ("task", "precision", "target")}
    found |= {"manifest": bundle.manifest_sha256, "devices": doctor.devices(bundle)}
    on = ["--device", arguments.device]
    steps: dict[str, Callable[[], Any]] = {}
    engine = _engine_device(bundle, arguments.device)
    if engine:
        workspace = ["--workspace", arguments.workspace] if arguments.workspace else []
        steps["build"] = lambda: _command(build, [folder, "--device", engine, *workspace])
    steps["verify"] = lambda: _command(verify, [folder, *on])
    steps["bench"] = lambda: _bench([folder, *on, "--runs", str(arguments.runs)])
    steps["parity"] = lambda: _parity(bundle, arguments.device, answers)
    for name, step in steps.items():
        with progress_line() as said:
            said(f"{folder}: {name}")
            found[name] = _or_why(step)
    return found


def _engine_device(bundle: Bundle, asked: str) -> str:
    """What engines are built for; empty where none are."""
    if asked == "auto":
        return ENGINES[0] if bundle.manifest.target == "tensorrt" and not unavailable_reason() else ""
    return asked if Placement.read(asked.split(",")[0]).device in ENGINES and "," not in asked else ""


def _command(module: ModuleType, arguments: list[str]) -> Any:
    """What another command answers."""
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    parsed = parser.parse_args([module.__name__.rpartition(".")[2], *arguments])
    return parsed.function(parsed)


def _bench(arguments: list[str]) -> Any:
    """With what happened on the GPU: its memory, CUDA graphs recorded and replayed, bytes copied."""
    gpu = _gpu()
    before = (gpu.memory()[0], dict(gpu.counts)) if gpu is not None else None
    found = _command(bench, arguments)
    if gpu is not None and before is not None:
        counts = {name: count - before[1].get(name, 0) for name, count in gpu.counts.items()}
        found |= {"gpu": counts, "gpu_free_bytes": [before[0], gpu.memory()[0]]}
    return found


def _gpu() -> Any:
    try:
        return cuda()
    except PerceiverError:
        return None


def _parity(bundle: Bundle, device: str, answers: dict[str, Any]) -> dict[str, Any]:
    """Largest and mean difference to the first bundle's answer, as shares of that answer's own standard deviation."""
    sample = answers.setdefault("sample", Sample.read(bundle.read(FILE)))
    with open_pipeline(bundle, RuntimeOptions(device)) as pipeline:
        found = {name: np.asarray(each, np.float64) for name, each in pipeline.known_answer(sample.inputs).items()}
    reference = answers.setdefault("reference", found)
    shares = {}
    for name in reference:
        spread = float(reference[name].std()) or 1.0
        error = np.abs(found[name] - reference[name]) / spread
        shares[name] = {"largest": float(error.max()), "mean": float(error.mean())}
    return shares


def _or_why(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except (PerceiverError, OSError, ValueError, KeyError, MemoryError) as error:
        return {"failed": str(error) or type(error).__name__}


def render(result: dict[str, Any]) -> str:
    """The summary."""
    machine = result["machine"]
    lines = [f"{name:18} {machine[name]}" for name in ("jetpack", "power mode", "gpu", "tensorrt", "cuda") if name in machine]
    for found in result["bundles"]:
        if "failed" in found:
            lines.append(f"{found['bundle']}: {found['failed']}")
            continue
        lines.append(f"{found['bundle']}: {found['task']}, {found['precision']}, target {found['target']}")
        for name in ("build", "verify", "bench", "parity"):
            if name in found:
                lines.append(f"  {name:8} {_failed(found[name]) or _SUMMARIES[name](found[name])}")
    return "\n".join([*lines, f"wrote {result['file']}: look through it, then send it back (docs/jetson.md, Measured on)"])


def _failed(found: Any) -> str:
    return f"failed: {found['failed']}" if "failed" in found else ""


def _built(found: Any) -> str:
    return ", ".join(f"{each['bytes'] / 1e6:.0f} MB in {each['seconds']:.0f} s" for each in found["engines"])


def _verified(found: Any) -> str:
    errors = [
        f"{name} off by {each['max_error']:.2g}, allowed {each['tolerance']:.2g}" for name, each in found["outputs"].items()
    ]
    return f"right on {found['provider']}: {'; '.join(errors)}"


def _measured(found: Any) -> str:
    call = found["batches"][0]["seconds"]["call"]
    counts = "".join(f", {name} {count}" for name, count in found.get("gpu", {}).items())
    return f"p50 {1000 * call['p50']:.2f} ms, p99 {1000 * call['p99']:.2f} ms{counts}"


def _compared(found: Any) -> str:
    return "; ".join(f"{name} {each['largest']:.2g} of the spread" for name, each in found.items())


_SUMMARIES: dict[str, Callable[[Any], str]] = {"build": _built, "verify": _verified, "bench": _measured, "parity": _compared}
