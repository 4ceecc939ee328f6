"""Every task on a CPU at published size: our bundles against transformers, torch.compile, plain ONNX exports and OpenVINO.

    python benchmarks/cpu.py                                         # all tasks and sides that can run here
    python benchmarks/cpu.py --tasks flow fill-mask --sides transformers ours "ours int8" --rounds 5 --json cpu.json

Random weights, batch 1. Every measurement is a fresh process that loads, warms up once and calls once or more; sides take
turns; seconds are the median over rounds, memory the process's peak resident size (Linux). Errors are the largest, against
transformers in float32, as a share of the answer's largest value: of random weights, which int8 meets worse than trained
ones, so that an export in int8 is refused; here its graphs are timed all the same. A clip of `multimodal` is 128 chunks to
transformers, each of which encodes anew: one is timed, times 128. Needs the test dependencies, and OpenVINO for its sides
(pip install openvino). A plain export is torch.onnx.export of transformers' model, its one graph with all outputs.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import shutil
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
    "multimodal": "PerceiverForMultimodalAutoencoding",
}
CLIP_CHUNKS = 128  # of a clip, as transformers' documentation decodes it
OPENVINO = ["OpenVINO fp32", "OpenVINO bf16"]
SIDES = ["transformers", "torch.compile", "plain ONNX", *OPENVINO, "ours without passes", "ours", "ours int8"]
BUNDLES: dict[str, dict[str, Any]] = {
    "ours without passes": {"passes": ()},
    "ours": {},
}


def inputs_of(task: str) -> dict[str, np.ndarray[Any, Any]]:
    """What transformers' model takes, at its own size, under its own names; frames not yet cut into patches."""
    rng = np.random.default_rng(0)
    if task == "flow":
        return {"frames": rng.uniform(-1, 1, (1, 2, 3, 368, 496)).astype(np.float32)}
    if task == "multimodal":
        video = rng.uniform(0, 1, (1, 16, 3, 224, 224)).astype(np.float32)
        return {"video": video, "audio": rng.uniform(-1, 1, (1, 30720, 1)).astype(np.float32)}
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
    if task == "multimodal":
        return clip_chunk(model, given)
    forward = torch.compile(model) if compiled else model

    @torch.no_grad()
    def call() -> Any:
        return forward(**given).logits.numpy()

    return call


def clip_chunk(model: Any, given: dict[str, Any]) -> Callable[[], Any]:
    """The first of a clip's chunks, on transformers; what it says of the pixels."""
    import torch

    inputs = {"image": given["video"], "audio": given["audio"], "label": torch.zeros(1, 700)}
    pixels, samples = 16 * 224 * 224 // CLIP_CHUNKS, given["audio"].shape[1] // 16 // CLIP_CHUNKS
    points = {"image": torch.arange(pixels), "audio": torch.arange(samples), "label": None}

    @torch.no_grad()
    def call() -> Any:
        return model(inputs=inputs, subsampled_output_points=points).logits["image"].numpy()

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
    from bundle_run import BundleRun

    from perceiver_runtime.bundle import open_bundle

    run = BundleRun(open_bundle(bundle), device="cpu")
    if task == "multimodal":
        pixels = 16 * 224 * 224 // CLIP_CHUNKS
        clip = inputs_of(task)
        frames = list(clip["video"][0].transpose(0, 2, 3, 1))
        return lambda: run.pipeline(frames, clip["audio"][0]).video.reshape(-1, 3)[:pixels]
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
        elif side == "ours int8":
            sources[side] = folder / "int8"
            export_int8(head.task, checkpoint, sources["ours"], sources[side])
        elif side in ("transformers", "torch.compile"):
            sources[side] = checkpoint
        else:
            sources[side] = folder / "plain.onnx"
            if not sources[side].exists():
                export_plain(task, checkpoint, sources[side])
    return sources


def export_int8(task: str, checkpoint: Path, verified: Path, output: Path) -> None:
    """A bundle with the int8 graphs of a checkpoint, in the place of a verified one's."""
    from perceiver_deploy.recipe import ExportOptions
    from perceiver_deploy.tasks import RECIPES
    from perceiver_export import export_graphs
    from perceiver_io.checkpoint import find_checkpoint, load_files
    from perceiver_runtime.bundle import file_sha256
    from perceiver_runtime.manifest import FileEntry, Manifest

    shutil.copytree(verified, output)
    files = find_checkpoint(str(checkpoint), allow_pickle=False, revision=None)
    model = load_files(files)
    recipe = RECIPES[task](model.config, ExportOptions(precision="int8"), checkpoint)
    export_graphs(task, model, output, progress=lambda _: None, lowering=recipe.lowering(), **recipe.graph_options())
    manifest = Manifest.from_json((output / "manifest.json").read_bytes())
    entries = tuple(FileEntry(entry.path, *file_sha256(output / entry.path)) for entry in manifest.files)
    changed = dataclasses.replace(manifest, precision="int8", files=entries)
    (output / "manifest.json").write_text(changed.to_json(), encoding="utf-8")


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
        wanted = [side for side in options.sides if task != "multimodal" or side in ("transformers", "ours", "ours int8")]
        with tempfile.TemporaryDirectory() as folder:
            rows += run_task(task, wanted, options.rounds, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
