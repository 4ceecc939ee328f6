"""8 bits for TensorRT beside NVIDIA's own quantizer: accuracy on the same cases, and what TensorRT-RTX computes in 8 bits.

    python benchmarks/eight_bits.py digits-conv --json eight.json

Both start from the same float32 graphs and are calibrated on the same inputs; both keep what is not quantized in float16.
Accuracy is the share of what verification allows that is used up, and the figure in the task's own terms, on ONNX Runtime's CPU
provider. Needs nvidia-modelopt with its `onnx` extra, and TensorRT-RTX for the kernels; neither needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from rtx import EIGHT_BIT_MODELS, fused, product_types, tensorrt_rtx  # type: ignore[import-not-found]

from perceiver_deploy import export_bundle
from perceiver_deploy.eight_bits.accuracy import Accuracies
from perceiver_deploy.export import locate
from perceiver_deploy.tasks.recipe import ExportOptions, Recipe
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_export import export_graphs
from perceiver_io.loading.checkpoint import load_files
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, build, spans
from perceiver_runtime.bundle.manifest import GraphEntry, Manifest
from perceiver_runtime.bundle.reader import own_graph

Inputs = dict[str, Any]


class Recorder:
    """A graph that keeps what it is given."""

    def __init__(self, path: Path) -> None:
        self._graph = OnnxGraph(*own_graph(path), GraphEntry("", (), ()), device="cpu")
        self.seen: list[Inputs] = []

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The graph's outputs."""
        self.seen.append(dict(inputs))
        return self._graph.run(inputs)


class Reader:
    """Calibration inputs one by one, as ONNX Runtime's quantizer asks for them."""

    def __init__(self, inputs: list[Inputs]) -> None:
        self._inputs = inputs
        self.rewind()

    def rewind(self) -> None:
        """From the first again."""
        self._left: Iterator[Inputs] = iter(self._inputs)

    def get_next(self) -> Inputs | None:
        """The next, or None at the end."""
        return next(self._left, None)

    def get_first(self) -> Inputs:
        """The first, whatever was read."""
        return self._inputs[0]


def nvidia(plain: Path, seen: Mapping[str, list[Inputs]], folder: Path, precision: str, method: str, options: Inputs) -> None:
    """Quantize the float32 graphs of `plain` into `folder`."""
    from modelopt.onnx.quantization import quantize  # type: ignore[import-not-found]

    folder.mkdir()
    for name, inputs in seen.items():
        quantize(
            str(plain / f"{name}.onnx"),
            quantize_mode=precision,
            calibration_method=method,
            calibration_data_reader=Reader(inputs),
            calibration_eps=["cpu"],
            high_precision_dtype="fp16",
            output_path=str(folder / f"{name}.onnx"),
            log_level="ERROR",
            **options,
        )


def kernels(folder: Path, manifest: Manifest, precision: str) -> dict[str, Any]:
    """How many products TensorRT-RTX computes from which types, and how many attentions are one kernel."""
    types: Counter[str] = Counter()
    attentions = 0
    for name, entry in manifest.graphs.items():
        options = BuildOptions(compute_capabilities=EIGHT_BIT_MODELS[precision])
        sizes = spans(manifest.ranges, {})
        try:
            plan = build(tensorrt_rtx(), *own_graph(folder / f"{name}.onnx"), entry, sizes, options, lambda phase: None)
        except Exception as error:
            return {"refused": str(error)[:300]}
        types.update("/".join(sorted(each)) for each in product_types(plan).values())
        attentions += fused(plan).total()
    return {"products": dict(types), "fused_attentions": attentions}


def measure(checkpoint: str, precision: str, work: Path) -> list[dict[str, Any]]:
    """A row a side."""
    files = locate(checkpoint)
    model = load_files(files)
    options = ExportOptions(precision=precision, target="tensorrt")  # type: ignore[arg-type]
    recipe: Recipe = EXPORT_TASKS[files.task].recipe(model.config, options, files.config.parent)
    manifest = export_bundle(checkpoint=checkpoint, output=work / "ours", precision=precision, target="tensorrt")  # type: ignore[arg-type]
    plain = work / "plain"
    plain.mkdir()
    float32 = ExportOptions(target="tensorrt")
    lowering = EXPORT_TASKS[files.task].recipe(model.config, float32, files.config.parent).lowering()
    export_graphs(files.task, model, plain, progress=lambda text: None, lowering=lowering, **recipe.graph_options())
    recorders: Any = {name: Recorder(plain / f"{name}.onnx") for name in manifest.graphs}
    for inputs in [each for kind in recipe.calibration_inputs.values() for each in kind]:
        recipe.answer(recorders, inputs)
    seen = {name: recorder.seen for name, recorder in recorders.items()}
    sides = {"this project": work / "ours"}
    for method in ("max", "entropy"):
        for attention, more in (("", {}), (", attention left alone", {"disable_mha_qdq": True})):
            side = f"nvidia-modelopt, {method}{attention}"
            sides[side] = work / side.replace(" ", "-")
            try:
                nvidia(plain, seen, sides[side], precision, method, more)
            except Exception as error:
                print(f"{side}: {error!r}"[:300], file=sys.stderr)
                del sides[side]
    accuracies = Accuracies(recipe, model)
    rows = []
    for side, folder in sides.items():
        graphs = {name: ir.load(folder / f"{name}.onnx") for name in manifest.graphs}
        scratch = work / "scratch"
        scratch.mkdir(exist_ok=True)
        accuracy = accuracies.of(graphs, scratch)
        row = {"checkpoint": checkpoint, "precision": precision, "side": side, "share_of_allowed": accuracy.share}
        rows.append(row | dict(accuracy.figures) | kernels(folder, manifest, precision))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Measure, print a line a side, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=["digits-conv"])
    parser.add_argument("--precisions", nargs="+", default=["int8", "fp8"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    np.random.seed(0)
    rows = []
    for checkpoint in arguments.checkpoints:
        for precision in arguments.precisions:
            with tempfile.TemporaryDirectory() as folder:
                rows += measure(checkpoint, precision, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
