"""Verification of exported graphs against torch, run as a process of its own.

    python -m perceiver_deploy.verification.verify REQUEST.json

The request names the checkpoint's files and the folder of graphs. The process compares on several shapes, writes the
known answer (sample.npz) and the parity report (parity.json) into that folder, and ends with exit code 3 if anything is outside
tolerance. A crash here is therefore a failed verification, not a failed exporter.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir

from perceiver_deploy.own.recipe import SavedCases
from perceiver_deploy.tasks.recipe import Array, Case, ExportOptions, Recipe, together
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_deploy.verification import figures
from perceiver_deploy.verification.comparison import TOLERANCES, Comparison, Tolerance
from perceiver_deploy.verification.judge import Judge, Noise, Pair, share
from perceiver_export.passes.precision.emulate_bfloat16 import emulate_bfloat16
from perceiver_export.shared_weights import save_graphs
from perceiver_io.loading.checkpoint import CheckpointFiles, load_files
from perceiver_runtime import PerceiverError, VerificationError
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.reader import own_graph
from perceiver_runtime.tasks.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.tasks.pipeline import FUSED

REPORT_FILE = "parity.json"
# how much further off than here another device's arithmetic may be; half precision allows for much of that already
DEVICE_FACTORS = {"fp32": 10.0, "fp16": 3.0, "bf16": 3.0, "int8": 3.0, "fp8": 3.0}


def verify(recipe: Recipe, model: Any, graphs: dict[str, OnnxGraph]) -> dict[str, Any]:
    """Compare graphs with the model on every case; the parity report as JSON values. Raises `VerificationError`.

    Every output has a negative control, `Judge` says which. In lower precision there are limits in the task's own terms too:
    on the user's own inputs where there are two or more, else on all cases.
    """
    tolerance = TOLERANCES[recipe.options.precision]
    judge = Judge(recipe, tolerance)
    metrics: list[tuple[Case, dict[str, float]]] = []
    for case in recipe.all_cases():
        reference = recipe.case_reference(model, case)
        found = together([recipe.answer(graphs, inputs) for inputs in case.runs])
        noise = Noise(partial(recipe.case_noise, model, case))
        inputs = sum(len(next(iter(run.values()))) for run in case.runs)
        users = case.own > 0
        rows = [judge.row(Pair(case.name, name, reference[name], found[name], inputs, noise, users)) for name in reference]
        metrics.append((case, recipe.metrics(reference, found)))
        if FUSED in graphs:
            fused = together([recipe.fused_answer(graphs[FUSED], run) for run in case.runs])
            for name, answer in fused.items():
                judge.row(Pair(f"{case.name}, fused", name, reference[name], answer, inputs, noise, users))
        farthest = max((row for row in rows if row is not None), key=share, default=None)
        if farthest is not None:
            print(
                f"{case.name}: {farthest['output']} off by {farthest['max_error']:.2g}{recipe.unit}, "
                f"{farthest['allowed']:.2g}{recipe.unit} allowed",
                flush=True,
            )
    judge.finish()
    if not judge.rows:
        raise VerificationError("nothing was compared")
    worst = figures.worst(metrics)
    if recipe.options.precision != "fp32":
        figures.check(recipe, worst)
    outputs = {}
    for name in dict.fromkeys(row["output"] for row in judge.rows):
        own = max((row for row in judge.rows if row["output"] == name), key=share)
        outputs[name] = {"max_error": own["max_error"], "allowed": own["allowed"]}
    summary = {"cases": len(metrics), "outputs": outputs, "figures": worst}
    if judge.constant:
        summary["constant"] = judge.constant
    return {
        "tolerance": f"largest error <= {tolerance.spread_share:g} x spread + {tolerance.rounding:g} x largest value",
        "rounding": judge.rounding(),
        "unit": recipe.unit.strip(),
        "own_inputs": len(recipe.own_inputs),
        "summary": summary,
        "cases": judge.rows,
    }


def _allowed(name: str, answer: Array, rows: list[dict[str, Any]], tolerance: Tolerance) -> float:
    """The error allowed of a known answer: by its own spread; of a single row, which has none, as in the general cases.

    The user's own inputs count only where nothing else was judged: one of them beside a general input has a spread that would
    allow a device more than the graphs need.
    """
    judged = [row for row in rows if row["output"] == name]
    general = [row for row in judged if not row["own"]] or judged
    if answer.ndim > 1 and len(answer) > 1:
        return Comparison.of(answer, answer, tolerance).allowed + float(max(row["allowed_for_rounding"] for row in general))
    return float(max(row["allowed"] for row in general))


def run(request_file: Path) -> None:
    """Do what a request asks for."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    folder, options = Path(request["folder"]), ExportOptions.from_json(request["options"])
    recipe, model = _subject(request, options)
    with tempfile.TemporaryDirectory() as emulated:
        report = verify(recipe, model, _open(folder, options.precision, Path(emulated)))
    sample = recipe.sample(model)
    sample.write(folder / SAMPLE_FILE)
    report["known_answer_tolerance"] = {
        name: DEVICE_FACTORS[options.precision] * _allowed(name, answer, report["cases"], TOLERANCES[options.precision])
        for name, answer in sample.outputs.items()
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2), encoding="utf-8")


def _subject(request: dict[str, Any], options: ExportOptions) -> tuple[Recipe, Any]:
    """What to verify, and the model rebuilt from its checkpoint; None where there is none and its answers are known."""
    files = CheckpointFiles.from_json(request["checkpoint"]) if request.get("checkpoint") else None
    model: Any = load_files(files) if files else None
    if request.get("cases"):
        return SavedCases(Path(request["cases"]), options), model
    assert files is not None  # a task's model has a checkpoint
    return EXPORT_TASKS[request["task"]].recipe(model.config, options, files.config.parent), model


def _open(folder: Path, precision: str, emulated: Path) -> dict[str, OnnxGraph]:
    """The graphs on the CPU, those in bfloat16 as graphs in the folder `emulated` that round as they do."""
    if precision == "bf16":
        models = {path.stem: ir.load(path) for path in sorted(folder.glob("*.onnx"))}
        for model in models.values():
            emulate_bfloat16(model)
        save_graphs(models, emulated)
        folder = emulated
    unchecked = GraphEntry("", (), ())
    return {path.stem: OnnxGraph(*own_graph(path), unchecked, device="cpu") for path in sorted(folder.glob("*.onnx"))}


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except PerceiverError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
