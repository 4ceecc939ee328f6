"""Every task on a CPU at published size: our bundles against transformers, torch.compile, plain ONNX exports and OpenVINO.

    python benchmarks/cpu.py                                         # all tasks and sides that can run here
    python benchmarks/cpu.py --tasks flow fill-mask --sides transformers ours "ours int8" --rounds 5 --json cpu.json

Random weights, batch 1. Every measurement is a fresh process that loads, warms up once and calls once or more; sides take
turns; seconds are the median over rounds, memory the process's peak resident size (Linux). Errors are the largest, against
transformers in float32, as a share of the answer's largest value: of random weights, which int8 meets worse than trained
ones. Needs the test dependencies, and OpenVINO for its sides (pip install openvino). A plain export is torch.onnx.export of
transformers' model, its one graph with all outputs.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

TASKS = {
    "flow": "PerceiverForOpticalFlow",
    "fill-mask": "PerceiverForMaskedLM",
    "image-learned": "PerceiverForImageClassificationLearned",
    "image-fourier": "PerceiverForImageClassificationFourier",
    "image-conv": "PerceiverForImageClassificationConvProcessing",
}
OPENVINO = ["OpenVINO fp32", "OpenVINO bf16"]
SIDES = ["transformers", "torch.compile", "plain ONNX", *OPENVINO, "ours without passes", "ours", "ours int8"]
BUNDLES: dict[str, dict[str, Any]] = {
    "ours without passes": {"passes": ()},
    "ours": {},
    "ours int8": {"precision": "int8"},
}


def inputs_of(task: str) -> dict[str, np.ndarray[Any, Any]]:
    """What transformers' model takes, at its own size, under its own names; frames not yet cut into patches."""
    rng = np.random.default_rng(0)
    if task == "flow":
        return {"frames": rng.uniform(-1, 1, (1, 2, 3, 368, 496)).astype(np.float32)}
    if task == "fill-mask":
        ids = rng.integers(6, 262, (1, 2048))
        return {"inputs": ids, "attention_mask": np.ones_like(ids)}
    return {"inputs": rng.standard_normal((1, 3, 224, 224)).astype(np.float32)}


def transformers_call(task: str, checkpoint: Path, *, compiled: bool) -> Callable[[], Any]:
    """transformers' model on its inputs."""
    import torch
    import transformers
    from published import patches

    model = getattr(transformers, TASKS[task]).from_pretrained(checkpoint).eval()
    given = {name: torch.from_numpy(array) for name, array in inputs_of(task).items()}
    if task == "flow":
        given = {"inputs": patches(given["frames"])}
    forward = torch.compile(model) if compiled else model

    @torch.no_grad()
    def call() -> Any:
        return forward(**given).logits.numpy()

    return call


def export_plain(task: str, checkpoint: Path, output: Path) -> None:
    """torch.onnx.export of transformers' model."""
    import torch
    import transformers
    from published import patches

    class Logits(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
            logits: torch.Tensor = self.model(inputs=inputs, attention_mask=attention_mask).logits
            return logits

    model = Logits(getattr(transformers, TASKS[task]).from_pretrained(checkpoint)).eval()
    given = {name: torch.from_numpy(array) for name, array in inputs_of(task).items()}
    example = (patches(given["frames"]),) if task == "flow" else tuple(given.values())
    names = ["inputs", "attention_mask"][: len(example)]
    torch.onnx.export(model, example, output, dynamo=True, opset_version=18, input_names=names, external_data=True)


def plain_call(task: str, graph: Path, side: str) -> Callable[[], Any]:
    """A plain export on ONNX Runtime or OpenVINO."""
    given = inputs_of(task)
    if task == "flow":
        import torch
        from published import patches

        given = {"inputs": patches(torch.from_numpy(given["frames"])).numpy()}
    if side == "plain ONNX":
        import onnxruntime

        session: Any = onnxruntime.InferenceSession(str(graph))
        return lambda: session.run(None, given)[0]
    import openvino

    precision = {"OpenVINO fp32": "f32", "OpenVINO bf16": "bf16"}[side]
    model = openvino.Core().compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda: model(given)[0]


def ours_call(task: str, bundle: Path) -> Callable[[], Any]:
    """A bundle's graphs: encode, and all outputs decoded."""
    from cases import BundleRun

    from perceiver_runtime.bundle import open_bundle

    run = BundleRun(open_bundle(bundle), device="cpu")
    names = [spec.name for spec in run.pipeline.graphs["encode"].entry.inputs]
    given = dict(zip(names, inputs_of(task).values()))
    return lambda: run(given)


def one_side(options: argparse.Namespace) -> None:
    """In the process of a side: its result as a line of JSON."""
    from perceiver_runtime.commands.bench import peak_memory

    start = time.perf_counter()
    task, source = options.tasks[0], options.source
    if options.side.startswith("ours"):
        call = ours_call(task, source)
    elif options.side in ("transformers", "torch.compile"):
        call = transformers_call(task, source, compiled=options.side == "torch.compile")
    else:
        call = plain_call(task, source, options.side)
    loaded = time.perf_counter() - start
    call()
    start = time.perf_counter()
    answer = call()
    result = {"seconds": time.perf_counter() - start, "load_seconds": loaded, "peak_bytes": peak_memory()}
    np.save(options.answer, np.asarray(answer))
    print(json.dumps(result))


def prepare(task: str, sides: list[str], folder: Path) -> dict[str, Path]:
    """What each side loads."""
    from heads import HEADS, save_random_head

    from perceiver_deploy import export_bundle

    head = next(head for head in HEADS if head.name == TASKS[task])
    checkpoint = folder / "checkpoint"
    save_random_head(checkpoint, head.name, head.published)
    sources: dict[str, Path] = {}
    for side in sides:
        if side in BUNDLES:
            sources[side] = folder / side.replace(" ", "-")
            try:
                export_bundle(task=head.task, checkpoint=checkpoint, output=sources[side], **BUNDLES[side])
            except Exception as error:  # the benchmark goes on without it, and says so
                print(f"{task}, {side}: {error}", file=sys.stderr)
                del sources[side]
        elif side in ("transformers", "torch.compile"):
            sources[side] = checkpoint
        else:
            sources[side] = folder / "plain.onnx"
            if not sources[side].exists():
                export_plain(task, checkpoint, sources[side])
    return sources


def run_task(task: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All sides of a task, in turns."""
    sources = prepare(task, options.sides, folder)
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sources}
    answers: dict[str, Any] = {}
    for _ in range(options.rounds):
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
        row["peak_bytes"] = max(each["peak_bytes"] for each in found)
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


def main() -> None:
    """Measure, print a table, write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="default: all that can run here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    for hidden in ("--side", "--source", "--answer"):
        parser.add_argument(hidden, type=str if hidden == "--side" else Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        one_side(options)
        return
    has_openvino = importlib.util.find_spec("openvino") is not None
    options.sides = options.sides or [side for side in SIDES if has_openvino or side not in OPENVINO]
    print(f"{'':35} {'seconds':>9} {'ratio':>6} {'peak GB':>8} {'error':>9}")
    rows = []
    for task in options.tasks:
        with tempfile.TemporaryDirectory() as folder:
            rows += run_task(task, options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
