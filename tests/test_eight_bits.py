"""8 bits: what layers are quantized to, which ranges, which layers are given back, and options that do not fit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_deploy.eight_bits.accuracy import Accuracy
from perceiver_deploy.eight_bits.calibration import Seen
from perceiver_deploy.eight_bits.choice import CLIPPED, LARGEST, Choice
from perceiver_deploy.eight_bits.magnitudes import Magnitudes
from perceiver_deploy.tasks.recipe import ExportOptions
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_export.passes.precision.linear_layers import linear_layers
from perceiver_export.passes.precision.lower_precision import lower_precision
from perceiver_export.passes.precision.quantize_linear import FORMATS, quantize_linear, scales
from perceiver_export.targets import Precision

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)
WEIGHTS = [(RANDOM.standard_normal((32, 48)) * np.logspace(-2, 1, 48)).astype(np.float32) for _ in range(2)]
BIAS = RANDOM.standard_normal(48).astype(np.float32)
X = np.clip(RANDOM.standard_normal((1, 64, 32)), -2, 2).astype(np.float32)


def two_layers() -> ir.Model:
    """x (1, 64, 32) through two linear layers, added up."""
    x = ir.Value(name="x", shape=ir.Shape([1, 64, 32]), type=ir.TensorType(ir.DataType.FLOAT))
    stored = [
        ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.FLOAT), const_value=ir.tensor(array))
        for name, array in (("w0", WEIGHTS[0]), ("w1", WEIGHTS[1]), ("b", BIAS))
    ]
    nodes = []
    for weight in stored[:2]:
        product = ir.node("MatMul", [x, weight])
        nodes += [product, ir.node("Add", [product.outputs[0], stored[2]])]
    nodes.append(ir.node("Add", [nodes[1].outputs[0], nodes[3].outputs[0]]))
    for node in nodes:
        node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([1, 64, 48])
    nodes[-1].outputs[0].name = "y"
    graph = ir.Graph([x], [nodes[-1].outputs[0]], nodes=nodes, initializers=stored, opset_imports={"": 18}, name="g")
    return ir.Model(graph, ir_version=10)


def answer(model: ir.Model, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    found: Array = session.run(None, {"x": x})[0]
    return found


def rounded(array: Array, scale: Array, precision: str) -> Array:
    """To 8 bits and back, by ml_dtypes and numpy alone."""
    if precision == "int8":
        return np.clip(np.rint(array / scale), -128, 127) * scale
    return np.clip(array / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale


@pytest.mark.parametrize(("precision", "error"), [("int8", 0.02), ("fp8", 0.06)])
def test_layers_in_eight_bits(precision: str, error: float) -> None:
    """As numpy rounds; x is quantized once for both; one scale for all channels would be further off."""
    model, form = two_layers(), FORMATS[precision]
    assert [layer.name for layer in linear_layers(model)] == ["linear", "linear_2"]
    assert quantize_linear(model, {"linear": 2.0, "linear_2": 2.0}, precision) == 2
    kinds = [node.op_type for node in model.graph]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (1, 3)
    assert model.opset_imports[""] == 19
    scale = scales(np.array(2.0), form)
    each = [scales(np.abs(weight).max(axis=0), form) for weight in WEIGHTS]
    x = rounded(X, scale, precision)
    expected = sum(x @ rounded(weight, own, precision) + BIAS for weight, own in zip(WEIGHTS, each))
    found = answer(model, X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    exact = sum(X @ weight + BIAS for weight in WEIGHTS)
    off = [float(np.abs(array - exact)[..., :8].max() / np.abs(exact).mean()) for array in (found, exact)]
    assert 0 < off[0] < error
    whole = [scales(np.abs(weight).max(), form) for weight in WEIGHTS]
    coarse = sum(x @ rounded(weight, own, "int8") + BIAS for weight, own in zip(WEIGHTS, whole))
    assert precision != "int8" or float(np.abs(coarse - exact)[..., :8].max() / np.abs(exact).mean()) > 2 * off[0]


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_what_is_beyond_the_range_saturates(precision: str) -> None:
    model = two_layers()
    quantize_linear(model, {"linear": 2.0, "linear_2": 2.0}, precision)
    ones = np.ones_like(X)
    np.testing.assert_allclose(answer(model, 100 * ones), answer(model, 2 * ones), rtol=1e-3)
    assert np.abs(answer(model, 2 * ones) - answer(model, ones)).max() > 1


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_the_rest_in_float16(precision: str) -> None:
    """Lowering changes the types around the 8 bits and no scale."""
    model = two_layers()
    quantize_linear(model, {"linear": 2.0}, precision)
    before = answer(model, X)
    lower_precision(model, "fp16")
    kinds = {node.outputs[0].dtype for node in model.graph if node.op_type == "DequantizeLinear"}
    assert kinds == {ir.DataType.FLOAT16}
    error = np.abs(answer(model, X) - before)
    assert 0 < error.max() < 2e-2 * np.abs(before).max()  # x that float16 rounds over a border goes to another of the 8 bits
    assert error.mean() < 1e-3 * np.abs(before).mean()


def test_scales_reach_and_are_numbers_of_float16() -> None:
    magnitudes = np.abs(RANDOM.standard_normal(1000)) * np.logspace(-6, 4, 1000)
    for form in FORMATS.values():
        found = scales(magnitudes, form)
        assert (found * form.largest >= magnitudes * (1 - 1e-7)).all()
        np.testing.assert_array_equal(found, found.astype(np.float16).astype(np.float32))
        assert scales(np.zeros(1), form) > 0


def test_magnitudes() -> None:
    values, seen = RANDOM.standard_normal((200, 50, 16)).astype(np.float32), Magnitudes()
    for run in np.split(values, 4):
        seen.add(run)
    assert seen.largest == np.abs(values).max()
    assert seen.rows == 50 * 50
    for percent in (50, 99, 99.9):
        assert seen.percentile(percent) == pytest.approx(np.percentile(np.abs(values), percent), rel=0.045)
    assert seen.percentile(100) == seen.largest
    seen.add(np.full((1, 1), 1e6, np.float32))
    assert seen.largest == 1e6
    assert seen.percentile(99) < 5


PARTS = {"encode": ["encoder.cross_attention.attention.output", *(f"encoder.self_attention.{n}.mlp.expand" for n in range(6))]}


def chosen(costs: Mapping[str, float], precision: Precision = "int8", **more: Any) -> tuple[Choice, Any, list[str]]:
    """A choice where each layer named costs that share of what is allowed, and 0.05 otherwise; clipping adds a little."""
    recipe: Any = EXPORT_TASKS["flow"].recipe.__new__(EXPORT_TASKS["flow"].recipe)
    recipe.options = ExportOptions(precision=precision, target="tensorrt", **more)
    recipe.__dict__["calibration_inputs"] = {"general": [{}]}
    recipe.lowering = lambda: type("Lowering", (), {"arithmetic": "fp16"})
    seen: dict[str, dict[str, Any]] = {}
    for graph, names in PARTS.items():
        for name in names:
            values = Magnitudes()
            values.add(np.ones((1, 8), np.float32))
            values.add(np.full((1, 1), 3, np.float32))
            layer: Any = type("Layer", (), {"operations": 2000 if "cross" in name else 2})
            seen.setdefault(graph, {})[name] = Seen(layer, values)
    asked = []

    def measured(layers: Any, what: str) -> Accuracy:
        asked.append(what)
        return Accuracy(sum(costs.get(name, 0.05) for own in layers.values() for name in own), {"end_point_error_px": 0.01})

    choice = Choice(recipe, None, lambda text: None)
    return choice, choice.choose(seen, measured), asked


def test_all_layers_where_accuracy_allows() -> None:
    choice, layers, asked = chosen({})
    assert list(layers["encode"]) == PARTS["encode"]
    assert len(asked) == 2
    assert choice.report["calibration"]["share_of_allowed"].keys() == {LARGEST, CLIPPED}
    assert choice.report["calibration"]["range"] == LARGEST
    assert set(layers["encode"].values()) == {3.0}
    assert choice.report["limits"] == {"end_point_error_px": 0.05}


def test_what_costs_most_is_given_back() -> None:
    """And no more than has to be; what cannot stay goes first, however much work it is."""
    bad = ["encoder.cross_attention.attention.output", "encoder.self_attention.3.mlp.expand"]
    choice, layers, _ = chosen({bad[0]: 3.0, bad[1]: 0.8, "encoder.self_attention.4.mlp.expand": 0.4})
    assert choice.report["given_back"] == {"encode": bad}
    assert not set(bad) & set(layers["encode"])
    assert len(layers["encode"]) == 5
    assert choice.report["share_of_allowed"] == pytest.approx(0.6)
    assert choice.report["parts_alone"]["encoder.cross_attention"]["share_of_allowed"] == 3.0


def test_no_layer_at_all_is_refused() -> None:
    with pytest.raises(pr.VerificationError, match=r"no part of this checkpoint can be in fp8 .*: export it in fp16, or allow"):
        chosen(dict.fromkeys(PARTS["encode"], 5.0), "fp8")


def test_the_limit_that_is_asked_for() -> None:
    def limits(task: str, limit: float) -> Mapping[str, float]:
        recipe: Any = EXPORT_TASKS[task].recipe.__new__(EXPORT_TASKS[task].recipe)
        recipe.options = ExportOptions(precision="int8", int8_limit=limit)
        found: Mapping[str, float] = recipe.limits_in_force
        return found

    assert limits("flow", 0.2) == {"end_point_error_px": 0.2}
    assert limits("fill-mask", 0.02) == {"bytes_agreeing": 0.98}
    with pytest.raises(pr.UsageError, match=r"--int8-limit 1 would let every answer differ: give a share below 1"):
        limits("fill-mask", 1)
    with pytest.raises(pr.UsageError, match=r"no figure of its own to limit: leave out --int8-limit"):
        limits("features", 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "."}, r"--calibration is for 8 bits: add --int8 or --fp8, or leave it out"),
        ({"int8_limit": 0.1}, r"--int8-limit is for 8 bits"),
        ({"precision": "int8", "int8_limit": -1.0}, r"--int8-limit -1 should be above 0"),
        ({"precision": "int8", "int8_limit": float("nan")}, r"--int8-limit nan should be above 0"),
        ({"precision": "fp8"}, r"fp8 is not for ONNX Runtime, .* or --target tensorrt"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(pr.UsageError, match=message):
        export_bundle(task="flow", output=tmp_path / "no", **options)


def test_a_calibration_folder_without_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export: Callable[..., object] = export_bundle
    for folder, message in (("missing", "there is no folder"), ("empty", "holds no samples for this task: put two or more")):
        with pytest.raises(pr.InputError, match=message):
            export(
                task="flow",
                output=tmp_path / "no",
                precision="int8",
                target="tensorrt",
                calibration=tmp_path / folder,
            )
