"""The pipeline from a checkpoint to a bundle: find, load, export, verify in a child process, describe, move into place."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import onnx
import torch

from perceiver_deploy.recipe import BUDGETS, ExportOptions, Precision, Recipe, Target
from perceiver_deploy.staging import check_destination, clean_up, staged_folder
from perceiver_deploy.tasks import RECIPES, SHIPPED_FOR
from perceiver_deploy.verify import RECEIPT_FILE
from perceiver_export import export_graphs
from perceiver_export.export import ALL_PASSES
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.lower_precision import OverflowingWeights
from perceiver_io import SHIPPED, CheckpointError, to_json
from perceiver_io.checkpoint import CheckpointFiles, find_checkpoint, load_files
from perceiver_runtime import InputError, UsageError, VerificationError
from perceiver_runtime.amounts import memory_bytes, old_megabytes
from perceiver_runtime.bundle import file_sha256, open_bundle
from perceiver_runtime.classification import FILE as LABELS_FILE
from perceiver_runtime.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.known_answer import Sample, check_known_answer, tolerances
from perceiver_runtime.loading import open_pipeline
from perceiver_runtime.manifest import SCHEMA_VERSION, FileEntry, GraphEntry, Manifest, Source, TensorSpec
from perceiver_runtime.onnx_backend import onnxruntime
from perceiver_runtime.pipeline import Placement

VERIFY = [sys.executable, "-m", "perceiver_deploy.verify"]
_DTYPES = {torch.float32: "float32", torch.int64: "int64"}


def _silent(_: str) -> None:
    pass


def export_bundle(
    *,
    task: str,
    output: str | Path,
    checkpoint: str | Path | None = None,
    allow_pickle: bool = False,
    revision: str | None = None,
    fused: bool = False,
    image_size: tuple[int, int] | None = None,
    precision: Precision = "fp32",
    target: Target = "ort",
    memory_budget: int | str | None = None,
    memory_budget_mb: int | None = None,
    passes: tuple[str, ...] = ALL_PASSES,
    force: bool = False,
    progress: Callable[[str], None] = _silent,
) -> Manifest:
    """Export a checkpoint (a folder, a hub id, a shipped name; the task's shipped one by default) to a bundle at `output`.

    `fused` also writes one graph of the whole model, model.onnx. `image_size` (height, width) is what images are resized to,
    the checkpoint's own by default; learned positions are interpolated for it. `precision` is fp32, fp16, bf16 or int8,
    `target` ort or tensorrt; no stored score matrix has more than `memory_budget`, bytes or a text such as "200MB" (192 MiB,
    for tensorrt 512 MiB; `memory_budget_mb` is its old name, in MiB). `passes` are the exact rewrites to apply, of
    `perceiver_export.export.ALL_PASSES`. Returns the bundle's manifest. Raises `UsageError` and `InputError` for options, a
    checkpoint or a destination that cannot be used, and `VerificationError` if the graphs do not compute what torch computes;
    `output` is then left as it was.
    """
    chosen = old_megabytes("memory_budget", memory_budget, "memory_budget_mb", memory_budget_mb, unit=1 << 20)
    budget = BUDGETS[target] if chosen is None else memory_bytes("memory_budget", chosen)
    output = Path(output)
    clean_up(output)
    check_destination(output, force=force)
    name = str(checkpoint or SHIPPED_FOR[task])
    try:
        files = find_checkpoint(name, allow_pickle=allow_pickle, revision=revision)
        if task not in (files.task, "features"):
            raise InputError(f"{name} is a checkpoint for {files.task}, not for {task}: use --task {files.task}, or features")
        progress(f"loading {name}")
        model = load_files(files)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    if fused and target == "tensorrt":
        raise UsageError("one graph of the whole model is for ONNX Runtime: leave out --fused, or --target tensorrt")
    if precision == "bf16" and target != "tensorrt":
        raise UsageError("bfloat16 is for TensorRT, no CPU runs it: add --target tensorrt, or take --fp16")
    if precision == "int8" and target != "ort":
        raise UsageError("int8 is for ONNX Runtime on CPUs: leave out --target tensorrt, or take --fp16")
    options = ExportOptions(fused, image_size, precision, target, budget, passes)
    recipe = RECIPES[task](model.config, options, files.config.parent)
    processor = recipe.processor()
    if image_size is not None and "crop" not in processor:
        raise UsageError(f"an image size is for tasks on images, not for {name}: leave it out")
    with staged_folder(output, force=force) as staging:
        try:
            graphs = export_graphs(
                task,
                model,
                staging,
                progress=progress,
                lowering=recipe.lowering(),
                **recipe.graph_options(),
            )
        except OverflowingWeights as error:
            raise InputError(f"{name} does not fit into {precision}: {error}. Export it in fp32") from error
        progress("verifying against torch in a child process")
        _verify(files, task, options, staging, progress)
        receipt_file = staging / RECEIPT_FILE
        receipt = json.loads(receipt_file.read_text(encoding="utf-8"))
        receipt_file.unlink()
        if recipe.labels is not None:
            labels = json.dumps(list(recipe.labels), indent=0, ensure_ascii=False)
            (staging / LABELS_FILE).write_text(labels + "\n", encoding="utf-8")
        source = _source(files, name)
        (staging / "README.md").write_text(_readme(task, recipe, source), encoding="utf-8")
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            task=task,
            precision=precision,
            target=target,
            config={key: value for key, value in to_json(model.config).items() if key != "labels"},
            processor=processor,
            graphs={spec.name: _graph_entry(spec) for spec in graphs.specs},
            ranges=recipe.limited_ranges(),
            choices=graphs.choices,
            source=source,
            tools=_tools(),
            parity=receipt,
            files=tuple(FileEntry(path.name, *file_sha256(path)) for path in sorted(staging.iterdir())),
        )
        (staging / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        progress("checking the finished bundle")
        _check_finished(staging)
    return manifest


def _verify(files: CheckpointFiles, task: str, options: ExportOptions, staging: Path, progress: Callable[[str], None]) -> None:
    request = staging / "request.json"
    asked = {
        "config": str(files.config),
        "weights": str(files.weights),
        "checkpoint_task": files.task,
        "task": task,
        "folder": str(staging),
        "options": dataclasses.asdict(options),
    }
    request.write_text(json.dumps(asked), encoding="utf-8")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with subprocess.Popen([*VERIFY, str(request)], stdout=subprocess.PIPE, stderr=errors, text=True) as child:
            try:
                for line in child.stdout or ():
                    progress(line.rstrip())
            except BaseException:
                child.kill()
                raise
        code = child.returncode
        errors.seek(0)
        reason = errors.read().strip().splitlines()
    request.unlink()
    if code != 0:
        raise VerificationError(
            f"verification failed (exit code {code}): {reason[-1] if reason else 'the process died'}. No bundle was written"
        )


def _check_finished(folder: Path) -> None:
    """Open the bundle as a device would and run its known answer; in bfloat16 no CPU can."""
    bundle = open_bundle(folder)
    if bundle.manifest.precision == "bf16":
        return
    with open_pipeline(bundle, Placement("cpu")) as pipeline:
        check_known_answer(pipeline, Sample.read(bundle.path(SAMPLE_FILE)), tolerances(bundle.manifest))


def _source(files: CheckpointFiles, name: str) -> Source:
    known = name if files.revision or name in SHIPPED else Path(name).name
    return Source(known, file_sha256(files.weights)[1], _license(files.config.parent), files.revision or "")


def _license(folder: Path) -> str:
    """The `license:` of the model card's front matter."""
    card = folder / "README.md"
    if card.is_file():
        front_matter = re.match(r"---\n(.*?)\n---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)", front_matter.group(1), re.MULTILINE) if front_matter else None
        if found:
            return found.group(1)
    return "unknown"


def _graph_entry(spec: GraphSpec) -> GraphEntry:
    inputs = []
    for name, example in spec.example.items():
        symbols = {axis: dimension.__name__ for axis, dimension in spec.dynamic.get(name, {}).items()}
        shape = tuple(symbols.get(axis, size) for axis, size in enumerate(example.shape))
        inputs.append(TensorSpec(name, _DTYPES[example.dtype], shape))
    outputs = tuple(TensorSpec(name, "float32", shape) for name, shape in spec.outputs.items())
    return GraphEntry(f"{spec.name}.onnx", tuple(inputs), outputs)


def _tools() -> dict[str, str]:
    return {
        "perceiver-deploy": metadata.version("perceiver-deploy"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime().__version__,
    }


def _readme(task: str, recipe: Recipe, source: Source) -> str:
    return (
        f"# {task} bundle\n\n"
        f"Made by perceiver-export from `{source.checkpoint}` (licence of the weights: {source.license}).\n"
        "`manifest.json` says what is in it and how it was checked against PyTorch.\n\n"
        "```\n"
        "pip install 'perceiver-runtime[cpu,images]'\n"
        "perceiver verify .\n"
        f"perceiver run . {recipe.usage}\n"
        "```\n"
    )
