"""The product that `perceiver bench` compares with: what engines make of it."""

import numpy as np
import onnx
import pytest

from perceiver_runtime.commands.benching import peak


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"ROWS": 8, "DEPTH": 64, "COLUMNS": 16}.items():
        monkeypatch.setattr(peak, name, size)


@pytest.mark.parametrize("eight_bits", [False, True])
def test_the_graph_is_onnx(eight_bits: bool) -> None:
    model = onnx.load_from_string(peak.product(eight_bits))
    if not eight_bits:
        onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["DynamicQuantizeMatMul" if eight_bits else "MatMul"]


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", "OpenVINO 2025"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_product_is_right(provider: str, precision: str) -> None:
    pytest.importorskip("openvino" if provider.startswith("Open") else "onnxruntime")
    x = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    weights = np.random.default_rng(1).integers(-127, 128, (64, 16)) * 1e-3
    call, close = peak._engine(provider, "float32", precision, 1, x)
    found = np.asarray(call())[0]
    close()
    error = np.abs(found - x @ weights).max()
    assert error < (1e-5 if precision == "fp32" else 0.05)
    assert np.abs(found).max() > 0.5


def test_elsewhere_it_is_numpys() -> None:
    assert peak.matrix_peak("CUDAExecutionProvider", "float32", "fp32", None)[1] == "numpy's float32 product"
    assert peak.matrix_peak("CPUExecutionProvider", "float32", "fp32", 1)[1] == "CPUExecutionProvider's float32 product"
