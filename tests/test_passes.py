"""Graph passes: the result equals the original, and a wrong rewrite would be caught."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim

from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.passes.attention.decompose_attention import decompose_attention
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.exact.fold_transposes import fold_transposes
from perceiver_export.passes.exact.share_initializers import share_initializers
from perceiver_export.trace import trace
from perceiver_io import EncoderConfig, PerceiverModel
from perceiver_io.parts.attention import scaled_dot_product


def run(model: ir.Model, path: Path, **inputs: np.ndarray) -> np.ndarray:
    ir.save(model, path)
    answer: np.ndarray = onnxruntime.InferenceSession(path).run(None, inputs)[0]
    return answer


def constant(name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)


def graph(*weights: np.ndarray, transposed: bool) -> ir.Model:
    """x times the first weight, times the second, …: each through a Transpose node if `transposed`."""
    x = ir.Value(name="x", shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    initializers = [constant(f"w{number}", weight) for number, weight in enumerate(weights)]
    nodes, value = [], x
    for weight in initializers:
        factor = weight
        if transposed:
            nodes.append(ir.node("Transpose", [weight], {"perm": [1, 0]}))
            factor = nodes[-1].outputs[0]
        nodes.append(ir.node("MatMul", [value, factor]))
        value = nodes[-1].outputs[0]
    value.name, value.shape, value.type = "out", ir.Shape([2, 3]), ir.TensorType(ir.DataType.FLOAT)
    made = ir.Graph([x], [value], nodes=nodes, initializers=initializers, opset_imports={"": 18}, name="g")
    return ir.Model(made, ir_version=10)


W = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)


def test_equal_initializers_become_one(tmp_path: Path) -> None:
    other = W.copy()
    other[0, 0] += 1e-6
    model = graph(W, W.copy(), other, transposed=False)
    expected = run(model, tmp_path / "before.onnx", x=X)
    assert share_initializers(model) == 1
    assert set(model.graph.initializers) == {"w0", "w2"}
    assert np.array_equal(run(model, tmp_path / "after.onnx", x=X), expected)
    assert share_initializers(model) == 0


def test_tensors_that_only_look_alike_stay_apart() -> None:
    """The same bytes as another type or shape, a scalar and a list of one: merging these breaks a graph."""
    model = graph(W, transposed=False)
    zeros = [np.zeros(4, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.int32), np.array(7), np.array([7])]
    for number, array in enumerate(zeros):
        model.graph.register_initializer(constant(f"z{number}", array))
    assert share_initializers(model) == 0


def test_transposes_of_initializers_are_folded(tmp_path: Path) -> None:
    other = W + 1
    model = graph(W, other, transposed=True)
    expected = run(model, tmp_path / "before.onnx", x=X)
    assert fold_transposes(model) == 2
    assert [node.op_type for node in model.graph] == ["MatMul", "MatMul"]
    assert len(model.graph.initializers) == 2
    assert np.array_equal(run(model, tmp_path / "after.onnx", x=X), expected)
    assert not np.allclose(X @ W @ other, expected, atol=1e-2)  # without the transposes
    assert fold_transposes(model) == 0


def test_a_transpose_of_what_the_graph_computes_stays() -> None:
    model = graph(W, transposed=False)
    node = ir.node("Transpose", [model.graph[0].outputs[0]], {"perm": [1, 0]})
    model.graph.append(node)
    assert fold_transposes(model) == 0


class Encode(nn.Module):
    def __init__(self, model: PerceiverModel) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = self.encoder(inputs, mask)
        return latents


@pytest.mark.parametrize(("heads", "qk", "v"), [(1, 7, 5), (3, 9, 6), (4, 8, 20)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_primitive_lowering_equals_attention(heads: int, qk: int, v: int, masked: bool, flat: bool, tmp_path: Path) -> None:
    def dynamic(name: str, *shape: str | int, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))

    inputs = [dynamic("q", "B", "Q", qk), dynamic("k", "B", "M", qk), dynamic("v", "B", "M", v)]
    inputs += [dynamic("mask", "B", "M", dtype=ir.DataType.INT64)] * masked
    node = ir.node("Attention", inputs, {"num_heads": heads}, domain="perceiver", name="a")
    output = node.outputs[0]
    output.name, output.shape, output.type = "out", ir.Shape(["B", "Q", v]), ir.TensorType(ir.DataType.FLOAT)
    made = ir.Graph(inputs, [output], nodes=[node], opset_imports={"": 18}, name="g")
    model = ir.Model(made, ir_version=10)
    assert decompose_attention(model, [], flat=flat) == 0
    assert decompose_attention(model, flat=flat) == 1
    values = {"q": torch.randn(2, 11, qk), "k": torch.randn(2, 13, qk), "v": torch.randn(2, 13, v)}
    mask = torch.ones(2, 13, dtype=torch.int64)
    mask[0, 5:] = 0
    given = values | ({"mask": mask} if masked else {})
    found = torch.from_numpy(run(model, tmp_path / "a.onnx", **{name: value.numpy() for name, value in given.items()}))
    expected = scaled_dot_product(**values, heads=heads, mask=mask if masked else None, dropout=0.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    otherwise = scaled_dot_product(**values, heads=heads, mask=None if masked else mask, dropout=0.0)
    assert (found - otherwise).abs().max() > 1e-2


@pytest.mark.parametrize("heads", [1, 4])
def test_masked_attention_is_lowered(heads: int, tmp_path: Path) -> None:
    """Masked keys change nothing; the mask left out changes much. A layer used three times keeps its weights once."""
    config = EncoderConfig(
        num_latents=6, latent_channels=16, num_blocks=3, layers_per_block=1, self_attention_heads=4,
        cross_attention_heads=heads, cross_attentions=2,
    )  # fmt: skip
    model = PerceiverModel(config, input_channels=8).eval()
    with torch.no_grad():
        model.encoder.latents.mul_(50)
    batch, length = Dim("B", min=1), Dim("M", min=1)
    spec = GraphSpec(
        name="encode",
        module=Encode(traceable(model)),
        example={"inputs": torch.zeros(2, 5, 8), "mask": torch.ones(2, 5, dtype=torch.int64)},
        dynamic={"inputs": {0: batch, 1: length}, "mask": {0: batch, 1: length}},
        outputs={"latents": ("B", 6, 16)},
    )
    traced = trace(spec)
    assert lower_attention_ort(traced) == 2 + 3
    assert sum(node.op_type == "MultiHeadAttention" for node in traced.graph) == 3  # those without a mask
    fold_transposes(traced)
    share_initializers(traced)
    stored = sum(value.const_value.nbytes for value in traced.graph.initializers.values())  # type: ignore[union-attr]
    assert stored < 1.05 * 4 * sum(parameter.numel() for parameter in model.parameters())
    inputs, mask = torch.randn(3, 11, 8), torch.ones(3, 11, dtype=torch.int64)
    mask[1, 4:], mask[2, 9:] = 0, 0
    with torch.no_grad():
        expected, unmasked = model(inputs, mask=mask), model(inputs)
    found = torch.from_numpy(run(traced, tmp_path / "encode.onnx", inputs=inputs.numpy(), mask=mask.numpy()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - unmasked)[1:].abs().max() > 1e-2
