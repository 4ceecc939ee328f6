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

from perceiver_export.export import PASSES
from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.passes.absorb_keys import absorb_keys
from perceiver_export.passes.absorb_queries import absorb_queries
from perceiver_export.passes.fold_transposes import fold_transposes
from perceiver_export.passes.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.lower_attention_primitive import attention_nodes
from perceiver_export.passes.patterns import layer_norm, linear, width
from perceiver_export.trace import trace
from perceiver_io.attention import CrossAttentionLayer

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
    """Any number of queries that look at latents: a decoder's cross-attention."""

    def __init__(self, cross: nn.Module, channels: int) -> None:
        super().__init__()
        self.cross, self.table = cross, nn.Parameter(3 * torch.randn(QUERIES, channels))

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.cross(inputs, self.table.expand(inputs.shape[0], -1, -1))
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


def run(graph: ir.Model, path: Path, inputs: Tensor) -> Tensor:
    lower_attention_ort(graph)
    ir.save(graph, path)
    found: np.ndarray[Any, Any] = onnxruntime.InferenceSession(path).run(None, {"inputs": inputs.numpy()})[0]
    return torch.from_numpy(found)


def check(model: nn.Module, graph: ir.Model, path: Path, channels: int) -> None:
    inputs = 2 * torch.randn(3, INPUTS, channels) + 0.5
    with torch.no_grad():
        expected = model(inputs)
    found = run(graph, path, inputs)
    scale = expected.abs().max()
    assert (found - expected).abs().max() < 1e-5 * scale
    with torch.no_grad():
        assert (model(inputs.flip(0)) - expected).abs().max() > 1e-2 * scale


SUBSETS = [subset for size in range(len(PASSES) + 1) for subset in itertools.combinations(PASSES, size)]
SIZES = [(11, 9, 9, 9), (8, 17, 23, 31), (33, 15, 16, 20)]  # queries, inputs, qk, v


CASES = [(SIZES[0], subset) for subset in SUBSETS] + [(sizes, tuple(PASSES)) for sizes in SIZES[1:]]


@pytest.mark.parametrize(("sizes", "passes"), CASES)
@pytest.mark.parametrize("kind", [Latents, Queries])
def test_every_subset(kind: type[nn.Module], sizes: tuple[int, ...], passes: tuple[str, ...], tmp_path: Path) -> None:
    queries, inputs, qk, v = sizes
    model, graph = made(kind, queries=queries, inputs=inputs, qk=qk, v=v)
    for name in PASSES:
        if name in passes:
            PASSES[name](graph)
    check(model, graph, tmp_path / "g.onnx", inputs if kind is Latents else queries)


def test_keys_are_absorbed(tmp_path: Path) -> None:
    """The inputs themselves are keys and values, and no product has as many rows as there are inputs."""
    model, graph = made(Latents, queries=11, inputs=9, qk=9, v=9)
    assert absorb_keys(graph) == 1
    node = attention_nodes(graph)[0]
    assert node.inputs[1] is node.inputs[2]
    assert node.inputs[1] is not None
    assert layer_norm(node.inputs[1])
    assert absorb_keys(graph) == 0
    check(model, graph, tmp_path / "g.onnx", 9)


def test_queries_are_absorbed(tmp_path: Path) -> None:
    model, graph = made(Queries, queries=8, inputs=17, qk=40, v=40)
    assert absorb_queries(graph) == 2
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
    assert absorb_keys(graph) == absorb_queries(graph) == 0


def test_wrong_rewrites_show(tmp_path: Path) -> None:
    """Without the keys' own numbers β, and with the scale of the new size."""
    model, graph = made(Queries, queries=8, inputs=17, qk=40, v=40)
    absorb_queries(graph)
    norm = layer_norm(attention_nodes(graph)[0].inputs[0])  # type: ignore[arg-type]
    assert norm is not None
    norm.replace(1.0, 0.0, "wrong")  # n in place of n + 1
    with pytest.raises(AssertionError):
        check(model, graph, tmp_path / "beta.onnx", 8)
    model, graph = made(Latents, queries=11, inputs=9, qk=20, v=9)
    absorb_keys(graph)
    del attention_nodes(graph)[0].attributes["scale"]
    with pytest.raises(AssertionError):
        check(model, graph, tmp_path / "scale.onnx", 9)


def test_latents_are_folded() -> None:
    """Up to the attention nothing depends on more than weights: norm, product, sum."""
    _, graph = made(Latents, queries=11, inputs=9, qk=9, v=9)
    assert PASSES["fold_expanded"](graph) == 3
    expand = attention_nodes(graph)[0].inputs[0].producer()  # type: ignore[union-attr]
    assert expand is not None
    assert expand.op_type == "Expand"
