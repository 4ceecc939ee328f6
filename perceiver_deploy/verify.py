"""Verification of exported graphs against torch, run as a process of its own.

    python -m perceiver_deploy.verify REQUEST.json

The request names the checkpoint's files and the folder of graphs. The process compares on several shapes, writes the
known answer (sample.npz) and the receipt (parity.json) into that folder, and ends with exit code 3 if anything is outside
tolerance. A crash here is therefore a failed verification, not a failed exporter.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from perceiver_deploy.comparison import TOLERANCES, Comparison, Tolerance
from perceiver_deploy.recipe import Answer, Array, ExportOptions, Recipe
from perceiver_deploy.tasks import RECIPES
from perceiver_export.passes.emulate_bfloat16 import emulate_bfloat16
from perceiver_export.shared_weights import save_graphs
from perceiver_io.checkpoint import CheckpointFiles, load_files
from perceiver_runtime import PerceiverError, VerificationError
from perceiver_runtime.bundle import own_graph
from perceiver_runtime.known_answer import FILE as SAMPLE_FILE
from perceiver_runtime.manifest import GraphEntry
from perceiver_runtime.onnx_backend import OnnxGraph
from perceiver_runtime.pipeline import FUSED

RECEIPT_FILE = "parity.json"
# how much further off than here another device's arithmetic may be; half precision allows for much of that already
DEVICE_FACTORS = {"fp32": 10.0, "fp16": 3.0, "bf16": 3.0, "int8": 3.0}


def verify(recipe: Recipe, model: Any, graphs: dict[str, OnnxGraph]) -> dict[str, Any]:
    """Compare graphs with the model on every case; the receipt as JSON values. Raises `VerificationError`.

    Every output of every case has a negative control: the graphs' own answer, given to the wrong pixels, bytes or inputs, must
    be refused. An answer that hardly varies would pass whatever the graphs compute.
    """
    tolerance = TOLERANCES[recipe.options.precision]
    rows = []
    figures: list[dict[str, float]] = []
    for case in recipe.cases():
        reference = _together([recipe.reference(model, inputs) for inputs in case.runs])
        found = _together([recipe.answer(graphs, inputs) for inputs in case.runs])
        rows += [_row(recipe, case.name, name, answer, found[name], tolerance) for name, answer in reference.items()]
        figures.append(recipe.figures(reference, found))
        if FUSED in graphs:
            fused = _together([recipe.fused_answer(graphs[FUSED], inputs) for inputs in case.runs])
            rows += [
                _row(recipe, f"{case.name}, fused", name, reference[name], answer, tolerance) for name, answer in fused.items()
            ]
        worst = max(rows[-len(reference) :], key=_share)
        print(
            f"{case.name}: {worst['output']} off by {worst['max_error']:.2g}{recipe.unit}, "
            f"{worst['allowed']:.2g}{recipe.unit} allowed",
            flush=True,
        )
    if not rows:
        raise VerificationError("nothing was compared")
    worst_figures = {name: _worst(name, [figure[name] for figure in figures]) for name in figures[0]}
    if recipe.options.precision != "fp32":
        _check_figures(recipe, worst_figures)
    outputs = {}
    for name in dict.fromkeys(row["output"] for row in rows):
        own = max((row for row in rows if row["output"] == name), key=_share)
        outputs[name] = {"max_error": own["max_error"], "allowed": own["allowed"]}
    return {
        "tolerance": f"largest error <= {tolerance.spread_share:g} x spread + {tolerance.rounding:g} x largest value",
        "unit": recipe.unit.strip(),
        "summary": {
            "cases": len(figures),
            "outputs": outputs,
            "figures": worst_figures,
        },
        "cases": rows,
    }


def _row(recipe: Recipe, case: str, name: str, reference: Any, found: Any, tolerance: Tolerance) -> dict[str, Any]:
    comparison, unit = Comparison.of(reference, found, tolerance), recipe.unit
    if not comparison.passes:
        raise VerificationError(
            f"the graphs differ from torch on {case}: {name} is off by {comparison.max_error:.3g}{unit} at most, "
            f"{comparison.allowed:.3g}{unit} allowed, {comparison.not_finite} values not finite"
        )
    control = Comparison.of(reference, found[::-1], tolerance)
    if control.passes:
        raise VerificationError(
            f"on {case} {name} is the same everywhere within {control.allowed:.3g}{unit}, so this comparison proves nothing: "
            "is the checkpoint trained?"
        )
    return {"case": case, "output": name, **dataclasses.asdict(comparison), "negative_control": control.max_error}


def _check_figures(recipe: Recipe, figures: dict[str, float]) -> None:
    """Lower precision also has limits in the task's own terms."""
    for name, limit in recipe.limits.items():
        value = figures[name]
        if not (value >= limit if name.endswith("agreeing") else value <= limit):
            raise VerificationError(
                f"{recipe.options.precision} gives a {name} of {value:.3g} against torch in fp32, the limit is {limit:g}: "
                "export this checkpoint in fp32"
            )


def _together(answers: list[Answer]) -> Answer:
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _share(row: dict[str, Any]) -> float:
    return float(row["max_error"] / row["allowed"])


def _worst(name: str, values: list[float]) -> float:
    return min(values) if name.endswith("agreeing") else max(values)


def _allowed(name: str, answer: Array, rows: list[dict[str, Any]], tolerance: Tolerance) -> float:
    """The error allowed of a known answer: by its own spread; of a single row, which has none, as in the cases."""
    if answer.ndim > 1 and len(answer) > 1:
        return Comparison.of(answer, answer, tolerance).allowed
    return float(max(row["allowed"] for row in rows if row["output"] == name))


def run(request_file: Path) -> None:
    """Do what a request asks for."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    folder, files = Path(request["folder"]), CheckpointFiles.from_json(request["checkpoint"])
    model = load_files(files)
    options = ExportOptions.from_json(request["options"])
    recipe = RECIPES[request["task"]](model.config, options, files.config.parent)
    with tempfile.TemporaryDirectory() as emulated:
        receipt = verify(recipe, model, _open(folder, options.precision, Path(emulated)))
    sample = recipe.sample(model)
    sample.write(folder / SAMPLE_FILE)
    receipt["known_answer_tolerance"] = {
        name: DEVICE_FACTORS[options.precision] * _allowed(name, answer, receipt["cases"], TOLERANCES[options.precision])
        for name, answer in sample.outputs.items()
    }
    (folder / RECEIPT_FILE).write_text(json.dumps(receipt, indent=2), encoding="utf-8")


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
