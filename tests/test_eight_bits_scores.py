"""Scores of wide attentions in 8 bits, for CPUs: how far off, what memory, what the graph check takes."""

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from perceiver_export.analysis.cost import graph_cost
from perceiver_export.passes.precision.quantize_scores import quantize_scores, score_products
from perceiver_runtime.bundle.graph_check import GraphCheck
from perceiver_runtime.bundle.manifest import GraphEntry, TensorSpec

RANDOM = np.random.default_rng(0)
QUERIES = RANDOM.standard_normal((1, 48, 64)).astype(np.float32)
KEYS = RANDOM.standard_normal((1, 500, 64)).astype(np.float32)
KINDS = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulIntegerToFloat", "MatMul")
LARGEST = float(np.abs(KEYS).max())
INPUTS = TensorSpec("queries", "float32", (1, 48, 64)), TensorSpec("keys", "float32", (1, "M", 64))


def attention() -> ir.Model:
    """Two groups of 24 queries, each times the keys, as lower_attention_ort.py leaves them."""
    queries, keys = (
        ir.Value(name=spec.name, shape=ir.Shape(spec.shape), type=ir.TensorType(ir.DataType.FLOAT)) for spec in INPUTS
    )
    stored = {
        name: ir.Value(name=name, shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.INT64), const_value=ir.tensor([number]))
        for name, number in (("none", 0), ("half", 24), ("all", 48), ("axis", 1))
    }
    transposed = ir.node("Transpose", [keys], {"perm": [0, 2, 1]})
    transposed.outputs[0].shape = ir.Shape([1, 64, "M"])
    nodes, scores = [transposed], []
    for start, end in (("none", "half"), ("half", "all")):
        group = ir.node("Slice", [queries, stored[start], stored[end], stored["axis"]])
        group.outputs[0].shape = ir.Shape([1, 24, 64])
        product = ir.node("MatMul", [group.outputs[0], transposed.outputs[0]])
        product.outputs[0].shape = ir.Shape([1, 24, "M"])
        nodes += [group, product]
        scores.append(product.outputs[0])
    nodes.append(ir.node("Concat", scores, {"axis": 1}))
    for node in nodes:
        node.outputs[0].dtype = ir.DataType.FLOAT
    out = nodes[-1].outputs[0]
    out.name, out.shape = "scores", ir.Shape([1, 48, "M"])
    graph = ir.Graph([queries, keys], [out], nodes=nodes, initializers=list(stored.values()), opset_imports={"": 18}, name="g")
    return ir.Model(graph, ir_version=10)


def answer(model: ir.Model) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    found: NDArray[np.float32] = session.run(None, {"queries": QUERIES, "keys": KEYS})[0]
    return found


def test_scores_in_eight_bits() -> None:
    """Keys are quantized once; off by what 8 bits are off, and that they are."""
    model = attention()
    found = score_products(model)
    assert [(each.name, each.x.name, each.operations) for each in found] == [("/scores", "keys", 2 * 64 * 48)]
    assert quantize_scores(model, {}) == 0
    assert quantize_scores(model, {"/scores": LARGEST}) == 1
    kinds = [node.op_type for node in model.graph]
    assert [kinds.count(kind) for kind in KINDS] == [1, 2, 2, 0]
    exact = QUERIES @ KEYS.transpose(0, 2, 1)
    steps = [np.ptp(QUERIES) / 255, LARGEST / 127]
    bound = 4 * np.hypot(*steps) * np.sqrt(64 / 12)  # a step's error is uniform, and 64 of them are added
    error = np.abs(answer(model) - exact)
    assert 0.1 * bound < error.max() < bound
    assert error.std() < bound / 4


def test_memory_and_operations_are_counted() -> None:
    """The scores are float32 in the plan, not the bytes that they are made of."""
    before, model = attention(), attention()
    quantize_scores(model, {"/scores": LARGEST})
    costs = [graph_cost(each, {"M": 500}) for each in (before, model)]
    assert costs[0].flops == costs[1].flops == 2 * 48 * 500 * 64
    assert 0.7 < costs[1].peak_bytes / costs[0].peak_bytes < 1.3


def test_the_graph_check_takes_them() -> None:
    """And a division after them is one of floats."""
    model = attention()
    quantize_scores(model, {"/scores": LARGEST})
    concat = model.graph.outputs[0].producer()
    assert concat is not None
    half = ir.node("Div", [concat.outputs[0], concat.outputs[0]])
    half.outputs[0].dtype, half.outputs[0].shape, half.outputs[0].name = ir.DataType.FLOAT, ir.Shape([1, 48, "M"]), "shares"
    model.graph.append(half)
    model.graph.outputs[0] = half.outputs[0]
    entry = GraphEntry("g.onnx", INPUTS, (TensorSpec("shares", "float32", (1, 48, "M")),))
    content: Any = ir.to_proto(model).SerializeToString()
    assert GraphCheck("g.onnx", {}).model(content, entry).content
