"""Half precision: what stays float32, weights that do not fit, and answers that stay the same in the task's own terms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_deploy.demo.digits import held_out
from perceiver_deploy.demo.flow import stereo_pair
from perceiver_deploy.verification.comparison import TOLERANCES, Comparison
from perceiver_export.passes.precision.emulate_bfloat16 import emulate_bfloat16
from perceiver_export.passes.precision.lower_precision import OverflowingWeights, lower_precision
from perceiver_export.passes.precision.quantize import stored_integers
from perceiver_io import OpticalFlow, load_checkpoint, save_checkpoint
from perceiver_runtime.bundle.reader import open_bundle

HALF = ir.DataType.FLOAT16


def graph(weight: np.ndarray[Any, Any], *middle: str) -> ir.Model:
    """x (1, 4) times a weight, through operators of one input, times the weight again, divided by 3."""
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    constants = {"w": weight, "three": np.array(3, np.float32)}
    stored = {
        name: ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), const_value=ir.tensor(array, name=name))
        for name, array in constants.items()
    }
    nodes = [ir.node("MatMul", [x, stored["w"]], name="first")]
    for kind in middle:
        nodes.append(ir.node(kind, [nodes[-1].outputs[0]], name=kind))
    nodes.append(ir.node("MatMul", [nodes[-1].outputs[0], stored["w"]], name="second"))
    nodes.append(ir.node("Div", [nodes[-1].outputs[0], stored["three"]], name="scale"))
    for node in nodes:
        node.outputs[0].dtype = ir.DataType.FLOAT
    out = nodes[-1].outputs[0]
    out.name, out.shape = "out", ir.Shape([1, 4])
    made = ir.Graph([x], [out], nodes=nodes, initializers=list(stored.values()), opset_imports={"": 18}, name="g")
    return ir.Model(made, ir_version=10)


def run(model: ir.Model, path: Path) -> np.ndarray[Any, Any]:
    ir.save(model, path)
    x = np.linspace(-1, 1, 4, dtype=np.float32)[None]
    answer: np.ndarray[Any, Any] = onnxruntime.InferenceSession(path).run(None, {"x": x})[0]
    return answer


WEIGHT = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("middle", "reasons"),
    [
        (("Abs",), ["final scale"]),
        (("Softmax",), ["softmax", "final scale"]),
        (("ReduceMean",), ["reduction", "final scale"]),
    ],
)
def test_rules(middle: tuple[str, ...], reasons: list[str], tmp_path: Path) -> None:
    expected = run(graph(WEIGHT, *middle), tmp_path / "fp32.onnx") if middle != ("ReduceMean",) else None
    model = graph(WEIGHT, *middle)
    islands = lower_precision(model, "fp16")
    assert [reason.split(":")[0] for reason in islands] == reasons
    assert islands[next(reason for reason in islands if reason.startswith("final scale"))] == ["scale"]
    assert model.graph.outputs[0].dtype == model.graph.inputs[0].dtype == ir.DataType.FLOAT
    assert all(node.outputs[0].dtype == HALF for node in model.graph if node.op_type == "MatMul")
    if expected is not None:
        found = run(model, tmp_path / "fp16.onnx")
        assert 0 < np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()


def test_what_the_sines_depend_on_stays_float32() -> None:
    model = graph(WEIGHT, "Sin")
    islands = lower_precision(model, "fp16")
    positions = next(nodes for reason, nodes in islands.items() if reason.startswith("positions"))
    assert positions == ["first", "Sin"]


def test_overflowing_weights_are_named() -> None:
    with pytest.raises(OverflowingWeights, match=r"^w has values up to 1e\+05, float16 holds 65504$"):
        lower_precision(graph(np.full((4, 4), 1e5, np.float32)), "fp16")


def test_bfloat16_emulated(tmp_path: Path) -> None:
    """The emulation, which ONNX Runtime runs, rounds operands and results as bfloat16 does, and keeps the islands."""
    model = graph(WEIGHT, "Abs")
    assert [reason.split(":")[0] for reason in lower_precision(model, "bf16")] == ["final scale"]
    assert emulate_bfloat16(model) > 0
    x = np.linspace(-1, 1, 4, dtype=np.float32)[None]

    def rounded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return array.astype(ir.DataType.BFLOAT16.numpy()).astype(np.float32)

    weight = rounded(WEIGHT)
    expected = rounded(np.abs(rounded(rounded(x) @ weight)) @ weight) / 3
    found = run(model, tmp_path / "emulated.onnx")
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - run(graph(WEIGHT, "Abs"), tmp_path / "fp32.onnx")).max() > 1e-3


def test_bfloat16_bundles(tmp_path: Path) -> None:
    options: dict[str, Any] = {"task": "image-classification", "output": tmp_path / "bundle", "precision": "bf16"}
    with pytest.raises(pr.UsageError, match=r"bf16 is not for ONNX Runtime, which .*, or --target tensorrt"):
        export_bundle(**options)
    manifest = export_bundle(**options, target="tensorrt")
    assert manifest.parity["summary"]["figures"]["top1_agreeing"] == 1.0
    assert manifest.parity["summary"]["outputs"]["logits"]["max_error"] > 1e-3  # it is not float32 that was compared
    with pytest.raises(pr.BackendError, match=r"is in bfloat16, which no CPU runs: use TensorRT, or export it with --fp16"):
        pr.load(tmp_path / "bundle", device="cpu")


def test_integers(shipped: Callable[..., Path]) -> None:
    """A layer is off by what 8 bits are off; one scale for all channels would be off by more."""
    manifest = open_bundle(shipped("image-classification", precision="int8")).manifest
    assert manifest.choices["passes"]["encode"]["quantize"] == 40
    weight = np.random.default_rng(0).standard_normal((40, 50)) * np.logspace(-2, 2, 50)
    made = ir.Graph([], [], nodes=[], opset_imports={"": 18}, name="g")
    integers, scales = (value.const_value.numpy() for value in stored_integers(made, "w", weight))  # type: ignore[union-attr]
    assert integers.dtype == np.int8
    assert np.abs(integers).max() == 127
    assert (np.abs(integers * scales - weight) <= 0.5001 * scales).all()
    assert np.abs(weight).max(axis=0).min() < np.abs(weight).max() / 127 / 2  # such a channel would be all zeros


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model: OpticalFlow = load_checkpoint("flow-small")
    model.decoder.output.weight.data[0, 0] = 1e6
    save_checkpoint(model, tmp_path / "large")
    with pytest.raises(pr.InputError, match=r"large does not fit into fp16: .*weight.* has values up to 1.*in fp32$"):
        export_bundle(task="flow", checkpoint=tmp_path / "large", output=tmp_path / "bundle", precision="fp16")
    assert not (tmp_path / "bundle").exists()


def test_the_tolerance_finds_a_wrong_answer() -> None:
    right = np.random.default_rng(0).standard_normal((100, 3))
    tolerance = TOLERANCES["fp16"]
    assert Comparison.of(right, right + 0.01, tolerance).passes
    assert not Comparison.of(right, right[::-1], tolerance).passes
    assert not Comparison.of(right, right + 0.2, tolerance).passes


@pytest.mark.parametrize(("precision", "size"), [("fp16", 0.52), ("int8", 0.85)])
def test_flow_on_real_frames(precision: Any, size: float, shipped: Callable[..., Path]) -> None:
    """Within 0.05 px of float32 on average, and smaller."""
    bundles = shipped("flow"), shipped("flow", precision=precision)
    pair, fields = stereo_pair(), []
    for bundle in bundles:
        with pr.load(bundle, device="cpu") as flow:
            fields.append(flow(pair.frame1, pair.frame2))
    assert 0 < np.linalg.norm(fields[0] - fields[1], axis=-1).mean() < 0.05
    assert np.linalg.norm(fields[0] - fields[1][:, ::-1], axis=-1).mean() > 0.5
    sizes = [(bundle / "weights.safetensors").stat().st_size for bundle in bundles]
    assert sizes[1] < size * sizes[0]


def test_digits_are_read_the_same(shipped: Callable[..., Path]) -> None:
    images, truth = held_out()
    answers = []
    for precision in ("fp32", "fp16", "int8"):
        with pr.load(shipped("image-classification", precision=precision), device="cpu") as classify:
            answers.append([labels[0].label for labels in classify(images, top_k=1)])
    assert answers[0] == answers[1]
    assert np.mean([first == second for first, second in zip(answers[0], answers[2])]) >= 0.99
    for precise in answers:
        assert np.mean([label == str(digit) for label, digit in zip(precise, truth)]) >= 0.97
