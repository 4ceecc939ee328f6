"""The pipeline from a checkpoint to a bundle: find, load, export, verify in a child process, describe, move into place."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perceiver_deploy.eight_bits.choice import Choice
from perceiver_deploy.options import check_options, memory_budget_bytes
from perceiver_deploy.staging import check_destination, clean_up
from perceiver_deploy.tasks.recipe import ExportOptions
from perceiver_deploy.tasks.registry import EXPORT_TASKS, task_name
from perceiver_deploy.writing import write_bundle
from perceiver_export import export_graphs
from perceiver_export.passes.table import ALL_PASSES
from perceiver_export.targets import EIGHT_BITS, Precision, TargetName
from perceiver_io import CheckpointError, to_json
from perceiver_io.loading.checkpoint import CheckpointFiles, find_checkpoint, load_files
from perceiver_runtime import InputError, UsageError
from perceiver_runtime.backends.onnxruntime import onnxruntime
from perceiver_runtime.bundle.manifest import Manifest, Source
from perceiver_runtime.common.amounts import old_megabytes
from perceiver_runtime.processing.image import MAX_SIDE, MIN_SIDE
from perceiver_runtime.tasks.outputs import check_outside_bundles


def _silent(_: str) -> None:
    pass


def export_bundle(
    *,
    task: str | None = None,
    output: str | Path,
    checkpoint: str | Path | CheckpointFiles | None = None,
    allow_pickle: bool = False,
    revision: str | None = None,
    ignore_tensors: tuple[str, ...] = (),
    fused: bool = False,
    image_size: tuple[int, int] | None = None,
    precision: Precision = "fp32",
    target: TargetName = "ort",
    memory_budget: int | str | None = None,
    memory_budget_mb: int | None = None,
    passes: tuple[str, ...] = ALL_PASSES,
    samples: str | Path | None = None,
    allow_rounding: bool = False,
    calibration: str | Path | None = None,
    int8_limit: float | None = None,
    force: bool = False,
    progress: Callable[[str], None] = _silent,
    note: Callable[[str], None] = _silent,
) -> Manifest:
    """Export a checkpoint (a folder, a hub id, a shipped name; the task's shipped one by default) to a bundle at `output`.

    Without a `task`, the checkpoint's own. `ignore_tensors` are names or patterns of tensors to leave out.
    `fused` also writes one graph of the whole model, model.onnx. `image_size` (height, width) is what images are resized to,
    the checkpoint's own by default; learned positions are interpolated for it. `precision` is fp32, fp16, bf16, int8 or fp8,
    `target` ort, cuda or tensorrt; no stored score matrix has more than `memory_budget`, bytes or a text such as "200MB"
    (192 MiB, for tensorrt 512 MiB; `memory_budget_mb` is its old name, in MiB). `passes` are the exact rewrites to apply, of
    `perceiver_export.export.ALL_PASSES`. `samples` is a folder of your own inputs; the graphs are verified on those too.
    `allow_rounding` accepts a checkpoint that amplifies rounding. In int8 and fp8 `calibration` is a folder of your own inputs,
    for the ranges of activations, and `int8_limit` what may be lost of the task's figure: pixels of end-point error, or the
    share of answers that differ. `progress` is told what is being done, `note` what was assumed where files say nothing.
    Returns the bundle's manifest. Raises `UsageError` and `InputError` for options, a checkpoint or a destination that cannot
    be used, and `VerificationError` if the graphs do not compute what torch computes; `output` is then left as it was.
    """
    task = None if task is None else task_name(task)
    if image_size is not None:
        check_image_size(image_size)
    onnxruntime()  # what verifies the graphs: said before the work where it is missing
    check_options(
        passes=passes,
        precision=precision,
        target=target,
        fused=fused,
        calibration=calibration is not None,
        int8_limit=int8_limit,
    )
    chosen = old_megabytes("memory_budget", memory_budget, "memory_budget_mb", memory_budget_mb, unit=1 << 20)
    budget = memory_budget_bytes(chosen, target)
    output = Path(output)
    clean_up(output)
    check_destination(output, force=force)
    if checkpoint is None and task is None:
        raise UsageError("give a task, a checkpoint, or both")
    found = checkpoint if checkpoint is not None else EXPORT_TASKS[task or ""].shipped
    if found is None:
        raise UsageError(f"no checkpoint is shipped for {task}: give one")
    if not isinstance(found, CheckpointFiles):
        found = locate(found, allow_pickle=allow_pickle, revision=revision, ignore_tensors=ignore_tensors)
    files, name = found, found.source
    task = task or files.task
    if files.task not in EXPORT_TASKS:
        raise InputError(
            f"{name} holds parts put together: export_model, or perceiver-export --checkpoint, says what they take"
        )
    if task != files.task and not EXPORT_TASKS[task].recipe.any_checkpoint:
        raise InputError(f"{name} is a checkpoint for {files.task}, not for {task}: use --task {files.task}, or features")
    progress(f"loading {name}")
    try:
        model = load_files(files)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    options = ExportOptions(
        fused,
        image_size,
        precision,
        target,
        budget,
        passes,
        None if samples is None else str(Path(samples).absolute()),
        allow_rounding,
        None if calibration is None else str(Path(calibration).absolute()),
        int8_limit,
    )
    recipe = EXPORT_TASKS[task].recipe(model.config, options, files.config.parent)
    processor = recipe.processor()
    if image_size is not None and "mean" not in processor:
        raise UsageError(f"an image size is for tasks on images, not for {name}: leave it out")
    check_outside_bundles(output)
    if recipe.own_inputs:  # read here too: a sample that cannot be used should fail before the work
        progress(f"also verifying on {len(recipe.own_inputs)} own inputs")
    choice = None
    if precision in EIGHT_BITS:
        choice = Choice(recipe, model, progress)
        progress(f"calibrating on {sum(map(len, recipe.calibration_inputs.values()))} inputs")
    _ = recipe.limits_in_force  # refused before the work, too
    if task != files.task:
        note(f"{task} of a checkpoint for {files.task}: the encoder alone, the rest of its tensors is left out")
    for text in recipe.notes:
        note(text)
    return write_bundle(
        output,
        task=task,
        recipe=recipe,
        graphs=lambda folder: export_graphs(
            task,
            model,
            folder,
            progress=progress,
            lowering=recipe.lowering(),
            choose_layers=choice,
            **recipe.graph_options(),
        ),
        choice=choice,
        request={"checkpoint": files.to_json(), "options": dataclasses.asdict(options)},
        config={key: value for key, value in to_json(model.config).items() if key != "labels"},
        source=_source(files),
        package=EXPORT_TASKS.package(task),
        never=[files.config.parent],
        force=force,
        progress=progress,
    )


def locate(
    checkpoint: str | Path, *, allow_pickle: bool = False, revision: str | None = None, ignore_tensors: tuple[str, ...] = ()
) -> CheckpointFiles:
    """The files of a checkpoint, see `perceiver_io.find_checkpoint`. Raises `InputError`."""
    try:
        return find_checkpoint(checkpoint, allow_pickle=allow_pickle, revision=revision, ignore_tensors=ignore_tensors)
    except CheckpointError as error:
        raise InputError(str(error)) from error


def check_image_size(size: Any) -> None:
    """Raise `UsageError` unless that is a height and a width."""
    if not isinstance(size, (tuple, list)) or len(size) != 2 or not all(type(side) is int for side in size):
        raise UsageError(f"image_size is {size!r}: give (height, width), two whole numbers of pixels")
    if not MIN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        raise UsageError(f"image_size is {size!r}: give {MIN_SIDE} to {MAX_SIDE} pixels a side")


def _source(files: CheckpointFiles) -> Source:
    return Source(files.source, _weights_sha256(files.weights), _license(files.config.parent), files.revision or "")


def _weights_sha256(files: tuple[Path, ...]) -> str:
    """Of a file; of shards as of one file that holds them in their order."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _license(folder: Path) -> str:
    """The `license:` of the model card's front matter."""
    card = folder / "README.md"
    if card.is_file():
        front_matter = re.match(r"---\n(.*?)\n---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)", front_matter.group(1), re.MULTILINE) if front_matter else None
        if found:
            return found.group(1)
    return "unknown"
