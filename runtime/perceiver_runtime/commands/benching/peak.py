"""The most operations a second that the engine reaches which runs a bundle: one large product, as the bundle's layers have."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from perceiver_runtime.backends.device import Arithmetic
from perceiver_runtime.bundle.graph_check import CheckedGraph
from perceiver_runtime.bundle.manifest import GraphEntry, TensorSpec
from perceiver_runtime.bundle.onnx_schema import MODEL
from perceiver_runtime.bundle.protobuf import Message, write
from perceiver_runtime.common.arrays import Array

ROWS, DEPTH, COLUMNS = 1024, 4096, 2048
_FLOAT, _INT8 = 1, 3  # TensorProto.DataType


def matrix_peak(provider: str, arithmetic: Arithmetic, precision: str, threads: int | None, runs: int = 6) -> tuple[float, str]:
    """Thousands of millions of operations a second, and whose product it is.

    On a CPU the engine's, in float32, bfloat16 or, for int8 bundles, 8 bits; elsewhere numpy's in float32.
    """
    x = np.random.default_rng(0).standard_normal((ROWS, DEPTH)).astype(np.float32)
    kind = "int8" if precision == "int8" else arithmetic
    if provider == "CPUExecutionProvider" or provider.startswith("OpenVINO "):
        whose = f"{provider}'s {kind} product"
        call, close = _engine(provider, arithmetic, precision, threads, x)
    else:
        whose, weights = "numpy's float32 product", np.ones((DEPTH, COLUMNS), np.float32)
        call, close = (lambda: x @ weights), (lambda: None)
    try:
        call()
        best = 0.0
        for _ in range(runs):
            start = time.perf_counter()
            call()
            best = max(best, 2 * ROWS * DEPTH * COLUMNS / (time.perf_counter() - start))
    finally:
        close()
    return best / 1e9, whose


def _engine(
    provider: str, arithmetic: Arithmetic, precision: str, threads: int | None, x: Array
) -> tuple[Callable[[], object], Callable[[], None]]:
    entry = GraphEntry("peak", (TensorSpec("x", "float32", x.shape),), (TensorSpec("y", "float32", (ROWS, COLUMNS)),))
    graph = CheckedGraph("peak", product(precision == "int8"), None)
    if provider == "CPUExecutionProvider":
        from perceiver_runtime.backends.onnxruntime import OnnxGraph

        session = OnnxGraph(graph, None, entry, device="cpu", threads=threads, arena_policy=lambda _: True)
        return lambda: session.run({"x": x}), session.close
    from perceiver_runtime.backends.openvino import OpenVinoGraph

    device = "openvino-bf16" if arithmetic == "bfloat16" else "openvino"
    model = OpenVinoGraph(graph, None, entry, device=device, precision=precision, threads=threads)
    return lambda: model.run({"x": x}), model.close


def product(eight_bits: bool) -> bytes:
    """A ModelProto: x, (ROWS, DEPTH), times constant weights, (DEPTH, COLUMNS); in 8 bits as int8 bundles have it."""
    values = np.random.default_rng(1).integers(-127, 128, (DEPTH, COLUMNS))
    if eight_bits:
        scale, bias = np.full(COLUMNS, 1e-3, np.float32), np.zeros(COLUMNS, np.float32)
        stored = [_tensor("w", values.astype(np.int8), _INT8), _tensor("s", scale, _FLOAT), _tensor("b", bias, _FLOAT)]
        node: Message = {1: ["x", "w", "s", "", "b"], 2: ["y"], 4: ["DynamicQuantizeMatMul"], 7: ["com.microsoft"]}
    else:
        stored = [_tensor("w", (values * 1e-3).astype(np.float32), _FLOAT)]
        node = {1: ["x", "w"], 2: ["y"], 4: ["MatMul"]}
    outside = {11: [_value("x", ROWS, DEPTH)], 12: [_value("y", ROWS, COLUMNS)]}
    graph: Message = {1: [node], 2: ["peak"], 5: stored, **outside}
    return write(MODEL, {1: [8], 7: [graph], 8: [{1: [""], 2: [17]}, {1: ["com.microsoft"], 2: [1]}]})


def _tensor(name: str, values: Array, dtype: int) -> Message:
    return {1: list(values.shape), 2: [dtype], 8: [name], 9: [values.tobytes()]}


def _value(name: str, *shape: int) -> Message:
    return {1: [name], 2: [{1: [{1: [_FLOAT], 2: [{1: [{1: [size]} for size in shape]}]}]}]}
