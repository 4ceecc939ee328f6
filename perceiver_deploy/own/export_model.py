"""A model of one's own to a bundle."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from perceiver_deploy.eight_bits.choice import Choice
from perceiver_deploy.options import check_options, memory_budget_bytes
from perceiver_deploy.own.composition import can_be_rebuilt
from perceiver_deploy.own.head import Head
from perceiver_deploy.own.kinds import Kind, OutputKind
from perceiver_deploy.own.model_recipe import ModelRecipe
from perceiver_deploy.own.recipe import write_cases
from perceiver_deploy.staging import check_destination, clean_up
from perceiver_deploy.tasks.recipe import Case, ExportOptions
from perceiver_deploy.writing import write_bundle
from perceiver_export.export import ExportedGraphs, export_specs
from perceiver_export.passes.patterns import MICROSOFT
from perceiver_export.passes.precision.linear_layers import MIN_CHANNELS
from perceiver_export.passes.table import ALL_PASSES
from perceiver_export.targets import EIGHT_BITS, Precision, TargetName
from perceiver_export.tasks.own import own_graphs
from perceiver_export.trace import UntraceableError
from perceiver_io.loading.checkpoint import CheckpointFiles, find_checkpoint, save_checkpoint
from perceiver_runtime import InputError, UsageError
from perceiver_runtime.backends.onnxruntime import onnxruntime
from perceiver_runtime.bundle.graph_check import MICROSOFT_OPERATORS, OPERATORS
from perceiver_runtime.bundle.manifest import Manifest, Source
from perceiver_runtime.tasks.outputs import check_outside_bundles


def _silent(_: str) -> None:
    pass


def export_model(
    model: nn.Module,
    output: str | Path,
    *,
    inputs: Mapping[str, Kind],
    outputs: Mapping[str, OutputKind],
    queries: Mapping[str, Kind] | None = None,
    name: str | None = None,
    license: str = "unknown",  # the word that model cards have
    checkpoint: CheckpointFiles | None = None,
    fused: bool = False,
    precision: Precision = "fp32",
    target: TargetName = "ort",
    memory_budget: int | str | None = None,
    passes: tuple[str, ...] = ALL_PASSES,
    samples: str | Path | None = None,
    allow_rounding: bool = False,
    calibration: str | Path | None = None,
    int8_limit: float | None = None,
    force: bool = False,
    progress: Callable[[str], None] = _silent,
    note: Callable[[str], None] = _silent,
) -> Manifest:
    """Export a module with `encode(**inputs)` and `decode(latents, **queries)` to a bundle at `output`.

    `inputs`, `queries` and `outputs` say what each is, by the names that the methods have for it: see
    `perceiver_deploy.own.kinds` and docs/own-heads.md. An image or a text to `Labels` becomes a bundle of that task; all else
    one for `arrays`. The graphs are compared with the module on the smallest, odd and the largest sizes in a child process:
    with the model rebuilt from `checkpoint` if it came from there, else with the module's own answers, computed before it is
    traced.
    `name` and `license` are for the manifest. All other options are those of `export_bundle`. Raises `UsageError` for kinds and
    options that make no sense, `InputError` for a module that does not do what is declared or cannot be traced,
    `VerificationError` if the graphs do not compute what the module computes; `output` is then left as it was.

    >>> export_model(model, "shape", inputs={"points": Arrays(("M", 3), {"M": (1, 4096)})}, queries={"positions": Positions(3)},
    ...              outputs={"occupancy": Arrays()})
    """
    onnxruntime()
    check_options(
        passes=passes,
        precision=precision,
        target=target,
        fused=fused,
        calibration=calibration is not None,
        int8_limit=int8_limit,
    )
    output = Path(output)
    clean_up(output)
    check_destination(output, force=force)
    check_outside_bundles(output)
    given, head = checkpoint, Head.of(inputs, queries, outputs)
    folder = None if samples is None else str(Path(samples).absolute())
    budget = memory_budget_bytes(memory_budget, target)
    ranges = None if calibration is None else str(Path(calibration).absolute())
    options = ExportOptions(fused, None, precision, target, budget, passes, folder, allow_rounding, ranges, int8_limit)
    with _evaluating(model):
        found = head.probe(model)
        if head.row and not head.row.any_latents and [len(shape) for shape in found.latents.values()] != [3]:
            head = dataclasses.replace(head, row=None)  # its pipeline expects latents (B, N, D) alone
            found = head.probe(model)
        recipe = ModelRecipe(head, found, options)
        progress("running the model on inputs to verify with")
        recipe.check(model)
        _ = recipe.limits_in_force
        choice = Choice(recipe, model, progress) if precision in EIGHT_BITS else None
        for text in recipe.notes:
            note(text)

        def graphs(staging: Path) -> ExportedGraphs:
            specs = own_graphs(model, found, head.input_tensors, head.query_tensors, head.sizes, head.values, fused=fused)
            try:
                exported = export_specs(specs, staging, progress=progress, lowering=recipe.lowering(), choose_layers=choice)
            except UntraceableError as error:
                raise InputError(f"{type(model).__name__}.{error}") from error
            _check_operators(staging, type(model).__name__)
            if choice is not None and not any(counts.get("quantize") for counts in exported.choices["passes"].values()):
                raise InputError(
                    f"{precision} is for linear layers of {MIN_CHANNELS} channels or more, which the model lacks: use fp32"
                )
            return exported

        with tempfile.TemporaryDirectory(prefix="perceiver-cases-") as temporary:
            if not can_be_rebuilt(model):
                checkpoint = None  # the child may not have its classes
            elif checkpoint is None:
                save_checkpoint(model, Path(temporary) / "checkpoint")
                checkpoint = find_checkpoint(Path(temporary) / "checkpoint")
            cases = Path(temporary) / "cases.npz"
            _write(cases, recipe, model, known=checkpoint is None)
            request: dict[str, Any] = {"cases": str(cases), "options": dataclasses.asdict(options)}
            return write_bundle(
                output,
                task=head.task,
                recipe=recipe,
                graphs=graphs,
                choice=choice,
                request=request | ({"checkpoint": checkpoint.to_json()} if checkpoint else {}),
                config={"model": f"{type(model).__module__}.{type(model).__qualname__}"},
                source=_source(model, name or (given.source if given else None), license),
                package=None,
                never=[],
                force=force,
                progress=progress,
            )


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """The module in evaluation mode, until the end. Raises `InputError` where its numbers are not float32 on a CPU."""
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is {type(model).__name__}, no torch.nn.Module: give the module itself")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{name} is {kind} on {tensor.device}: give model.float().cpu()")
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _check_operators(folder: Path, name: str) -> None:
    """Raise `InputError` for an operator that no bundle may have."""
    for path in sorted(folder.glob("*.onnx")):
        for node in ir.load(path).graph:
            if node.op_type not in (MICROSOFT_OPERATORS if node.domain == MICROSOFT else OPERATORS):
                raise InputError(
                    f"{name}.{path.stem} has the operator {node.op_type} ({node.name}), which bundles may not hold: write that "
                    "step with products, sums, softmax and moves of values"
                )


def _write(file: Path, recipe: ModelRecipe, model: nn.Module, *, known: bool) -> None:
    """Cases for the child, with the module's answers where it cannot be rebuilt there."""
    cases = list(recipe.all_cases())
    answers: dict[str, Sequence[Mapping[str, Any]]] | None = None
    if known:
        runs = [Case(case.name, (inputs,)) for case in cases for inputs in case.runs]
        noise = [{name: np.float64(value) for name, value in recipe.case_noise(model, run).items()} for run in runs]
        answers = {"answer": [recipe.case_reference(model, run) for run in runs], "noise": noise}
    run = recipe.run_of([recipe.sample_item])
    write_cases(file, recipe, cases, recipe.sample(model), run, answers, len(recipe.own_inputs))


def _source(model: nn.Module, name: str | None, license_name: str) -> Source:
    if name is not None and not name.strip():
        raise UsageError("the name is empty: leave it out, or say what the model is")
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return Source(name or type(model).__name__, digest.hexdigest(), license_name, "")
