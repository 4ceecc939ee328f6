"""8 bits for TensorRT: verified bundles, and what TensorRT-RTX's own builder computes in 8 bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from heads import HEADS, save_random_head
from rtx import EIGHT_BIT_MODELS, fused, product_types, tensorrt_rtx

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_deploy.demo.digits import held_out
from perceiver_deploy.tasks.recipe import ExportOptions
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_deploy.writing import graph_entry
from perceiver_export import export_graphs
from perceiver_export.targets import Precision, every_layer
from perceiver_io import load_checkpoint
from perceiver_io.loading.checkpoint import find_checkpoint
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, build, spans
from perceiver_runtime.bundle.manifest import GraphEntry, Manifest, Range
from perceiver_runtime.bundle.reader import own_graph

SHIPPED = ["flow-small", "fill-mask-small", "glosses-small", "digits-fourier", "digits-learned", "digits-conv", "clips-small"]
SHIPPED += ["fields-small", "commands-small"]
NAMES = {"int8": "int8", "fp8": "fp8_e4m3"}  # as TensorRT-RTX writes them


def engine(folder: Path, entry: GraphEntry, ranges: Mapping[str, Range], precision: str) -> bytes:
    options = BuildOptions(compute_capabilities=EIGHT_BIT_MODELS.get(precision, EIGHT_BIT_MODELS["int8"]))
    return build(tensorrt_rtx(), *own_graph(folder / entry.file), entry, spans(ranges, {}), options, lambda phase: None)


def in_eight_bits(plan: bytes, precision: str) -> set[str]:
    """The nodes whose products an engine computes from 8 bits alone."""
    return {node for node, types in product_types(plan).items() if types == {NAMES[precision]}}


def nodes(layers: Mapping[str, float]) -> set[str]:
    """The products of layers, by their names in a finished graph."""
    found = set()
    for name in layers:
        if name == "linear":  # of no module
            found.add("MatMul")
            continue
        module, _, number = name.rpartition("_")
        found.add(f"{module}/MatMul_{number}" if number.isdigit() else f"{name}/MatMul")
    return found


def check(folder: Path, manifest: Manifest) -> int:
    """All chosen layers are in 8 bits in the engine, and no other product is; how many."""
    count = 0
    for name, entry in manifest.graphs.items():
        layers = manifest.parity["eight_bits"]["layers"][name]
        plan = engine(folder, entry, manifest.ranges, manifest.precision)
        assert in_eight_bits(plan, manifest.precision) == nodes(layers), name
        assert fused(plan).total() >= sum(each["fuses"] for each in manifest.choices["attention"][name])
        count += len(layers)
    return count


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Manifest]]:
    """digits-conv for TensorRT in int8 and fp8."""
    folder, made = tmp_path_factory.mktemp("digits"), {}
    precisions: tuple[Precision, ...] = ("int8", "fp8")
    for precision in precisions:
        output = folder / precision
        made[precision] = output, export_bundle(checkpoint="digits-conv", output=output, precision=precision, target="tensorrt")
    return made


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_the_report(precision: str, digits: dict[str, tuple[Path, Manifest]]) -> None:
    """Ranges, what was tried, accuracy; and fp8 rounds otherwise than int8."""
    _, manifest = digits[precision]
    report = manifest.parity["eight_bits"]
    assert report["calibration"]["inputs"] == {"calibration": 0, "sample": 1, "general": 5}
    assert report["calibration"]["range"] in report["calibration"]["share_of_allowed"]
    assert report["share_of_allowed"] == min(report["calibration"]["share_of_allowed"].values()) < 0.9
    assert report["given_back"] == {"encode": [], "decode": []}
    magnitudes = [value for layers in report["layers"].values() for value in layers.values()]
    assert len(magnitudes) == 41
    assert min(magnitudes) > 0
    weights = {name: manifest.choices["passes"][name]["quantize"] for name in manifest.graphs}
    assert weights == {"encode": 39, "decode": 2}
    size = {each: (path / "weights.safetensors").stat().st_size for each, (path, _) in digits.items()}
    assert size["int8"] == pytest.approx(size["fp8"], rel=0.01)


def test_digits_are_read_the_same(digits: dict[str, tuple[Path, Manifest]]) -> None:
    images, truth = held_out()
    answers = {}
    for precision, (folder, _) in digits.items():
        with pytest.warns(UserWarning, match="exported for TensorRT"), pr.load(folder, device="auto") as classify:
            answers[precision] = [labels[0].label for labels in classify(images, top_k=1)]
        assert np.mean([label == str(digit) for label, digit in zip(answers[precision], truth)]) >= 0.97


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_tensorrt_computes_in_eight_bits(precision: str, digits: dict[str, tuple[Path, Manifest]]) -> None:
    assert check(*digits[precision]) == 41


def test_what_is_not_quantized_is_not_found(digits: dict[str, tuple[Path, Manifest]], tmp_path: Path) -> None:
    """The control: without the quantization of its input a layer is computed in float16, from weights in 8 bits too."""
    folder, manifest = digits["int8"]
    model = ir.load(folder / "decode.onnx")
    whole = nodes(manifest.parity["eight_bits"]["layers"]["decode"])
    back = next(node for node in model.graph if node.op_type == "QuantizeLinear")
    undone = back.outputs[0].uses()[0].node.outputs[0]
    readers = {use.node.name or "" for use in undone.uses()}
    ir.convenience.replace_all_uses_with(undone, back.inputs[0])
    (tmp_path / "weights.safetensors").symlink_to(folder / "weights.safetensors")
    ir.save(model, tmp_path / "decode.onnx")
    plan = engine(tmp_path, manifest.graphs["decode"], manifest.ranges, "int8")
    assert in_eight_bits(plan, "int8") == whole - readers
    assert readers & whole


def test_fp8_needs_a_gpu_that_has_it(digits: dict[str, tuple[Path, Manifest]]) -> None:
    folder, manifest = digits["fp8"]
    with pytest.raises(pr.BackendError, match=r"fp8_e4m3"):
        engine(folder, manifest.graphs["decode"], manifest.ranges, "int8")  # for SM 86 too


@pytest.mark.long
@pytest.mark.parametrize("precision", ["int8", "fp8"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoints(name: str, precision: Any, tmp_path: Path) -> None:
    manifest = export_bundle(checkpoint=name, output=tmp_path / "bundle", precision=precision, target="tensorrt")
    report = manifest.parity["eight_bits"]
    assert report["share_of_allowed"] <= 0.9
    assert check(tmp_path / "bundle", manifest) >= 5


@pytest.mark.published_size
@pytest.mark.long
@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_published_flow(precision: Any, tmp_path: Path) -> None:
    """Of random weights, which no verification passes in 8 bits: the graphs alone, all layers in one range."""
    head = next(each for each in HEADS if each.task == "flow")
    save_random_head(tmp_path / "checkpoint", head.name, head.published)
    files = find_checkpoint(tmp_path / "checkpoint")
    model = load_checkpoint(files.config.parent)
    options = ExportOptions(precision=precision, target="tensorrt")
    recipe = EXPORT_TASKS["flow"].recipe(model.config, options, files.config.parent)
    layers: dict[str, dict[str, float]] = {}

    def everything(graphs: Mapping[str, ir.Model], finish: object) -> dict[str, dict[str, float]]:
        layers.update(every_layer("tensorrt")(graphs))
        return layers

    output = tmp_path / "graphs"
    output.mkdir()
    made = export_graphs(
        "flow", model, output, progress=print, lowering=recipe.lowering(), choose_layers=everything, **recipe.graph_options()
    )
    for spec in made.specs:
        entry = graph_entry(spec)
        plan = engine(output, entry, recipe.limited_ranges(), precision)
        assert in_eight_bits(plan, precision) == nodes(layers[spec.name])
