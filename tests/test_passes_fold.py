"""Passes that save work: alone, in pairs and together they give what the model gives; wrong rewrites show."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.analysis.attention_shapes import AttentionShape
from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.passes.attention.decompose_attention import attention_nodes
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.exact.fold_kv_projections import fold_kv_projections
from perceiver_export.passes.exact.fold_mlp_output import fold_mlp_output
from perceiver_export.passes.exact.fold_query_projections import fold_query_projections
from perceiver_export.passes.exact.fold_transposes import fold_transposes
from perceiver_export.passes.exact.fuse_biases import fuse_biases
from perceiver_export.passes.exact.fuse_gelu import fuse_gelu
from perceiver_export.passes.patterns import layer_norm, linear, width
from perceiver_export.passes.table import AFTER_LOWERING, ALL_PASSES, BEFORE_LOWERING, FUSIONS
from perceiver_export.trace import trace
from perceiver_io.parts.attention import CrossAttentionLayer

QUERIES, INPUTS = 5, 13


class Latents(nn.Module):
    """Learned latents that look at any number of inputs: an encoder's cross-attention."""

    def __init__(self, cross: nn.Module, channels: int) -> None:
        super().__init__()
        self.cross, self.table = cross, nn.Parameter(3 * torch.randn(QUERIES, channels))

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.cross(self.table.expand(inputs.shape[0], -1, -1), inputs)
        return answer


class Queries(nn.Module):
    """Any number of queries that look at latents: a decoder's cross-attention, and its last layer."""

    def __init__(self, cross: nn.Module, channels: int, outputs: int = 3) -> None:
        super().__init__()
        self.cross, self.table = cross, nn.Parameter(3 * torch.randn(QUERIES, channels))
        self.last = nn.LazyLinear(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.last(self.cross(inputs, self.table.expand(inputs.shape[0], -1, -1)))
        return answer


def made(kind: type[nn.Module], *, queries: int, inputs: int, qk: int, v: int, heads: int = 1) -> tuple[nn.Module, ir.Model]:
    """A cross-attention in which every bias and scale counts, and its trace."""
    cross = CrossAttentionLayer(q_channels=queries, kv_channels=inputs, heads=heads, qk_channels=qk, v_channels=v)
    with torch.no_grad():
        for name, parameter in cross.named_parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
            if ".query.weight" in name or ".key.weight" in name:
                parameter.mul_(0.6)
    model = kind(cross, queries if kind is Latents else inputs).eval()  # type: ignore[call-arg]
    width_in = inputs if kind is Latents else queries
    model(torch.zeros(1, 7, width_in))  # the last layer finds out how many channels it gets
    spec = GraphSpec(
        name="g",
        module=traceable(model),
        example={"inputs": torch.zeros(2, 7, width_in)},
        dynamic={"inputs": {0: Dim("B", min=1), 1: Dim("M", min=1)}},
        outputs={"out": ("B", "M", queries)},
    )
    graph = trace(spec)
    fold_transposes(graph)
    return model, graph


def run(graph: ir.Model, path: Path, inputs: Tensor, passes: tuple[str, ...]) -> Tensor:
    lower_attention_ort(graph)
    for name, apply in {**AFTER_LOWERING, **FUSIONS}.items():
        if name in passes:
            apply(graph)
    ir.save(graph, path)
    found: np.ndarray[Any, Any] = onnxruntime.InferenceSession(path).run(None, {"inputs": inputs.numpy()})[0]
    return torch.from_numpy(found)


def check(model: nn.Module, graph: ir.Model, path: Path, channels: int, passes: tuple[str, ...] = ()) -> None:
    inputs = 2 * torch.randn(3, INPUTS, channels) + 0.5
    with torch.no_grad():
        expected = model(inputs)
    found = run(graph, path, inputs, passes)
    scale = expected.abs().max()
    assert (found - expected).abs().max() < 1e-5 * scale
    with torch.no_grad():
        assert (model(inputs.flip(0)) - expected).abs().max() > 1e-2 * scale


SUBSETS = [subset for size in (0, 1, 2) for subset in itertools.combinations(ALL_PASSES, size)]  # alone and in pairs
SIZES = [(11, 9, 9, 9), (8, 17, 23, 31), (33, 15, 16, 20)]  # queries, inputs, qk, v


CASES = [(SIZES[0], subset) for subset in SUBSETS] + [(sizes, ALL_PASSES) for sizes in SIZES]


@pytest.mark.parametrize(("sizes", "passes"), CASES)
@pytest.mark.parametrize("kind", [Latents, Queries])
def test_alone_in_pairs_and_together(
    kind: type[nn.Module], sizes: tuple[int, ...], passes: tuple[str, ...], tmp_path: Path
) -> None:
    queries, inputs, qk, v = sizes
    model, graph = made(kind, queries=queries, inputs=inputs, qk=qk, v=v)
    for name in BEFORE_LOWERING:
        if name in passes:
            BEFORE_LOWERING[name](graph)
    check(model, graph, tmp_path / "g.onnx", inputs if kind is Latents else queries, passes)


def test_keys_are_absorbed(tmp_path: Path) -> None:
    """The inputs themselves are keys and values, and no product has as many rows as there are inputs."""
    model, graph = made(Latents, queries=11, inputs=9, qk=9, v=9)
    assert fold_kv_projections(graph) == 1
    node = attention_nodes(graph)[0]
    assert node.inputs[1] is node.inputs[2]
    assert node.inputs[1] is not None
    assert layer_norm(node.inputs[1])
    assert fold_kv_projections(graph) == 0
    check(model, graph, tmp_path / "g.onnx", 9)


def test_queries_are_absorbed(tmp_path: Path) -> None:
    model, graph = made(Queries, queries=8, inputs=17, qk=40, v=40)
    assert fold_query_projections(graph) == 2
    node = attention_nodes(graph)[0]
    assert [width(value) for value in node.inputs] == [8, 8, 8]
    assert linear(node.inputs[0]) is None
    check(model, graph, tmp_path / "g.onnx", 8)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Latents, {"queries": 12, "inputs": 8, "qk": 8, "v": 8, "heads": 2}),  # of several heads each sees its own part
        (Latents, {"queries": 11, "inputs": 64, "qk": 4, "v": 4}),  # projecting makes the keys much smaller
        (Queries, {"queries": 64, "inputs": 17, "qk": 4, "v": 4}),
        (Queries, {"queries": 12, "inputs": 8, "qk": 8, "v": 8, "heads": 2}),
    ],
)
def test_where_nothing_is_gained(kind: type[nn.Module], options: dict[str, int]) -> None:
    _, graph = made(kind, **options)
    assert fold_kv_projections(graph) == fold_query_projections(graph) == 0


def test_wrong_rewrites_show(tmp_path: Path) -> None:
    """Without the keys' own numbers β, and with the scale of the new size."""
    model, graph = made(Queries, queries=8, inputs=17, qk=40, v=40)
    fold_query_projections(graph)
    norm = layer_norm(attention_nodes(graph)[0].inputs[0])  # type: ignore[arg-type]
    assert norm is not None
    norm.replace(1.0, 0.0, "wrong")  # n in place of n + 1
    with pytest.raises(AssertionError):
        check(model, graph, tmp_path / "beta.onnx", 8)
    model, graph = made(Latents, queries=11, inputs=9, qk=20, v=9)
    fold_kv_projections(graph)
    del attention_nodes(graph)[0].attributes["scale"]
    with pytest.raises(AssertionError):
        check(model, graph, tmp_path / "scale.onnx", 9)


def test_last_layer_is_absorbed(tmp_path: Path) -> None:
    """The MLP's second layer gives three channels; a last layer that widens stays."""
    model, graph = made(Queries, queries=8, inputs=17, qk=8, v=8)
    assert fold_mlp_output(graph) == 1
    assert fold_mlp_output(graph) == 0
    products = [node for node in graph.graph if node.op_type == "MatMul"]
    assert sorted(width(node.outputs[0]) or 0 for node in products)[:2] == [3, 3]
    check(model, graph, tmp_path / "g.onnx", 8)
    _, wide = made(Queries, queries=2, inputs=17, qk=2, v=2)
    assert fold_mlp_output(wide) == 0


def test_fusions(tmp_path: Path) -> None:
    """GELU with the bias before it is one node, and the attention adds three biases; with another constant it is no GELU."""
    model, graph = made(Queries, queries=8, inputs=17, qk=8, v=8)
    assert fuse_biases(graph) == 0  # before it is lowered there is nothing to fuse into
    lower_attention_ort(graph)
    assert (fuse_gelu(graph), fuse_biases(graph)) == (1, 1)
    kinds = [node.op_type for node in graph.graph]
    assert "BiasGelu" in kinds
    assert "Erf" not in kinds
    check(model, graph, tmp_path / "g.onnx", 8)
    _, other = made(Queries, queries=8, inputs=17, qk=8, v=8)
    half = next(node for node in other.graph if node.op_type == "Erf").inputs[0].producer().inputs[1]  # type: ignore[union-attr]
    half.const_value = ir.tensor(np.array(1.5, np.float32))  # type: ignore[union-attr]
    assert fuse_gelu(other) == 0


@pytest.mark.parametrize("rows", [1, 2, QUERIES])
def test_latents_in_groups(rows: int, tmp_path: Path) -> None:
    """No stored score matrix has more rows than the budget has room for, and the answer is the same."""
    model, graph = made(Latents, queries=11, inputs=9, qk=9, v=9)
    shape = AttentionShape(1, 1, QUERIES, 1000, 9, 9, fixed_queries=True)
    lower_attention_ort(graph, [shape], budget=4 * 1000 * rows)
    softmaxes = [node for node in graph.graph if node.op_type == "Softmax"]
    assert len(softmaxes) == -(-QUERIES // rows)
    assert all(node.outputs[0].shape[1] <= rows for node in softmaxes)  # type: ignore[index]
    check(model, graph, tmp_path / "g.onnx", 9)


def test_latents_are_folded() -> None:
    """Up to the attention nothing depends on more than weights: norm, product, sum."""
    _, graph = made(Latents, queries=11, inputs=9, qk=9, v=9)
    assert AFTER_LOWERING["fold_expanded"](graph) == 3
    expand = attention_nodes(graph)[0].inputs[0].producer()  # type: ignore[union-attr]
    assert expand is not None
    assert expand.op_type == "Expand"
