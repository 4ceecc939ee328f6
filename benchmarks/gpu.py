"""Every task on a GPU: our runtime against torch, eager and compiled, on the same weights; parity first, then time and memory.

    python benchmarks/gpu.py                                # published sizes, random weights, needs a CUDA GPU
    python benchmarks/gpu.py --tasks flow --json gpu.json
    python benchmarks/gpu.py --device cpu --shipped --runs 3        # the same on a CPU, with the small checkpoints: a rehearsal

Every side is a fresh process. Errors are against torch in float32 on the same device, as a share of the answer's own spread
(its standard deviation); a side beyond its limit counts as failed, and one whose answer fits to the reference's rows in another
order proves nothing and fails too. Memory is the GPU's, what the process took of it. TensorRT takes part where it is
installed; building its engines is not counted. Of a clip, one frame is decoded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_run import BundleRun, measure
from cases import CHECKPOINTS, SHIPPED, make_inputs, save_random, torch_answer

import perceiver_io as pio
from perceiver_deploy import export_bundle
from perceiver_io.tasks.registry import task_of
from perceiver_runtime.backends.tensorrt.backend import unavailable_reason
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import PerceiverError

LIMITS = {"fp32": 1e-2, "fp16": 1e-1, "bf16": 1.0}  # largest error, in spreads of the answer
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TORCH = ["torch fp32", "torch fp16", "torch bf16", "torch.compile fp32", "torch.compile fp16"]


def sides(device: str) -> list[str]:
    """Whatever can run here; the reference first."""
    found = [*(TORCH if device == "cuda" else TORCH[:1]), f"ours {device} fp32", f"ours {device} fp16"]
    return found if device == "cpu" or unavailable_reason() else [*found, "ours tensorrt fp32", "ours tensorrt fp16"]


def run_torch(side: str, checkpoint: str, device: str, options: argparse.Namespace) -> dict[str, Any]:
    """One of `TORCH`."""
    kind, precision = side.rsplit(" ", 1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = pio.load_checkpoint(checkpoint).eval()
    task, config = task_of(model), model.config
    given = {name: torch.from_numpy(array).to(device) for name, array in make_inputs(task, config).items()}
    model = model.to(device, DTYPES[precision])
    given = {name: each.to(DTYPES[precision]) if each.is_floating_point() else each for name, each in given.items()}
    forward = torch.compile(torch_answer) if kind == "torch.compile" else torch_answer

    @torch.no_grad()
    def call() -> Any:
        return forward(task, model, given).float().cpu().numpy()

    return finish(call, options)


def run_ours(side: str, bundle: str, device: str, options: argparse.Namespace) -> dict[str, Any]:
    """A bundle on a device of the runtime."""
    opened = open_bundle(bundle)
    run = BundleRun(opened, device=side.split()[1])
    model = pio.load_checkpoint(options.checkpoint)
    inputs = make_inputs(opened.manifest.task, model.config)
    del model
    return finish(lambda: run(inputs), options)


def finish(call: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Measure, and keep the answer for the comparison."""
    result: dict[str, Any] = measure(call, runs=options.runs, warm_up=options.warm_up)
    np.save(options.answer, call())
    if options.free:
        result["gpu_bytes"] = options.free - torch.cuda.mem_get_info()[0]
    return result


def one_side(options: argparse.Namespace) -> None:
    """In the process of a side: its result as a line of JSON."""
    options.free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    work = run_torch if options.side.startswith("torch") else run_ours
    print(json.dumps(work(options.side, options.source, options.device, options)))


def compare(reference: Any, found: Any, precision: str) -> tuple[float, bool]:
    """The largest error in spreads, and whether it is within the limit while the same rows in another order are not."""
    spread = float(reference.std(axis=0).mean()) if len(reference) > 1 else float(reference.std())
    error = float(np.abs(reference - found).max()) / spread
    control = float(np.abs(reference - np.roll(found, 1, axis=0 if len(found) > 1 else 1)).max()) / spread
    return error, bool(error <= LIMITS[precision] < control)


def run_case(case: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All sides of a task; the first is the reference."""
    checkpoint = SHIPPED[case] if options.shipped else str(folder / "checkpoint")
    if not options.shipped:
        save_random(case, folder / "checkpoint")
    task = task_of(pio.load_checkpoint(checkpoint))
    rows: list[dict[str, Any]] = []
    reference = None
    for side in sides(options.device):
        precision, source = side.rsplit(" ", 1)[1], checkpoint
        row: dict[str, Any] = {"task": case, "side": side}
        rows.append(row)
        try:
            if side.startswith("ours"):
                target = "tensorrt" if "tensorrt" in side else "ort"
                source = str(folder / f"{target}-{precision}")
                if not Path(source).exists():
                    export_bundle(task=task, checkpoint=checkpoint, output=source, precision=precision, target=target)  # type: ignore[arg-type]
            answer = folder / "answer.npy"
            command = [sys.executable, __file__, "--side", side, "--source", source, "--checkpoint", checkpoint]
            command += ["--answer", str(answer), "--device", options.device, "--runs", str(options.runs)]
            done = subprocess.run([*command, "--warm-up", str(options.warm_up)], check=True, capture_output=True, text=True)
        except (PerceiverError, subprocess.CalledProcessError) as error:
            row["failed"] = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
            if reference is None:
                break  # without the reference there is nothing to compare with
            continue
        row |= json.loads(done.stdout.splitlines()[-1])
        found = np.load(answer)
        reference = found if reference is None else reference
        row["error"], row["passes"] = compare(reference, found, precision)
        row["ratio"] = row["median"] / rows[0]["median"]
        print(render(row), flush=True)
    return rows


def render(row: dict[str, Any]) -> str:
    """A line of the table."""
    start = f"{row['task']:14} {row['side']:20}"
    if "failed" in row:
        return f"{start} {row['failed']}"
    memory = f"{row['gpu_bytes'] / 1e6:9.0f}" if "gpu_bytes" in row else f"{'':9}"
    verdict = "ok" if row["passes"] else "WRONG"
    times = f"{1000 * row['median']:11.2f} {1000 * row['p99']:11.2f} {row['ratio']:6.2f}"
    return f"{start} {times} {memory} {row['error']:9.1e} {verdict}"


def main() -> int:
    """Run, print a table, write JSON; 1 if a side failed or was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(SHIPPED), help="default: all; audio and fields with --shipped alone")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shipped", action="store_true", help="the small checkpoints that ship, not the published sizes")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--json", type=Path)
    for hidden in ("--side", "--source", "--checkpoint", "--answer"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        one_side(options)
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA GPU here: --device cpu --shipped rehearses")
    cases = SHIPPED if options.shipped else CHECKPOINTS
    names = options.tasks or list(cases)
    if not set(names) <= set(cases):
        parser.error(f"no published checkpoint of {', '.join(sorted(set(names) - set(cases)))}: give --shipped")
    print(f"{'':35} {'median ms':>11} {'p99 ms':>11} {'ratio':>6} {'GPU MB':>9} {'error':>9}")
    rows = []
    for case in names:
        with tempfile.TemporaryDirectory() as folder:
            rows += run_case(case, options, Path(folder))
    for row in rows:
        if "failed" in row:
            print(render(row))
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.get("passes") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
