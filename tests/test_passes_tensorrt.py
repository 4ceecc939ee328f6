"""Passes for TensorRT: heads padded to one size, queries in groups; equal to the model, and a wrong rewrite shows."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from perceiver_export.analysis.attention_shapes import attention_shapes
from perceiver_export.graph_spec import GraphSpec, traceable
from perceiver_export.passes.attention.decompose_attention import attention_nodes, decompose_attention
from perceiver_export.passes.attention.group_queries import group_queries
from perceiver_export.passes.attention.pad_heads import pad_heads
from perceiver_export.trace import trace
from perceiver_io import EncoderConfig, PerceiverModel


class Encode(nn.Module):
    def __init__(self, model: PerceiverModel) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, inputs: Tensor) -> Tensor:
        latents: Tensor = self.encoder(inputs)
        return latents


def encoder(*, qk: int, v: int, heads: int = 2, latents: int = 7) -> tuple[PerceiverModel, GraphSpec]:
    """A model whose biases count, and its encoder as a graph with any number of inputs."""
    config = EncoderConfig(
        num_latents=latents,
        latent_channels=v,
        layers_per_block=2,
        self_attention_heads=heads,
        cross_attention_heads=heads,
        qk_channels=qk,
        v_channels=v,
    )
    model = PerceiverModel(config, input_channels=9).eval()
    with torch.no_grad():
        model.encoder.latents.mul_(50)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif ".query.weight" in name or ".key.weight" in name:
                parameter.mul_(4)
    spec = GraphSpec(
        name="encode",
        module=Encode(traceable(model)),
        example={"inputs": torch.zeros(2, 5, 9)},
        dynamic={"inputs": {0: Dim("B", min=1), 1: Dim("M", min=1)}},
        outputs={"latents": ("B", latents, v)},
    )
    return model, spec


def answer(graph: ir.Model, path: Path, inputs: Tensor) -> Tensor:
    decompose_attention(graph)
    graph.opset_imports.pop("perceiver", None)
    ir.save(graph, path)
    found: np.ndarray = onnxruntime.InferenceSession(path).run(None, {"inputs": inputs.numpy()})[0]
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    ("qk", "v", "padded"), [(32, 160, 3), (34, 60, 3), (48, 48, 0), (64, 40, 0), (16, 80, 0), (40, 640, 0)]
)
def test_padded_heads(qk: int, v: int, padded: int, tmp_path: Path) -> None:
    """Where TensorRT gains from it: keys of 16 channels a head or more, fewer than the values', which have at most 256."""
    model, spec = encoder(qk=qk, v=v)
    graph = trace(spec)
    assert pad_heads(graph) == padded
    widths = {node.inputs[0].shape[2] for node in attention_nodes(graph) if node.inputs[0] and node.inputs[0].shape}
    assert widths == {v if padded else qk}
    inputs = torch.randn(3, 11, 9)
    with torch.no_grad():
        expected = model(inputs)
    torch.testing.assert_close(answer(graph, tmp_path / "padded.onnx", inputs), expected, rtol=1e-4, atol=1e-4)


def test_the_scale_stays_that_of_the_size_before(tmp_path: Path) -> None:
    """The wrong rewrite: padded, and scaled by the padded size."""
    model, spec = encoder(qk=32, v=160)
    graph = trace(spec)
    pad_heads(graph)
    for node in attention_nodes(graph):
        del node.attributes["scale"]
    inputs = torch.randn(3, 11, 9)
    with torch.no_grad():
        expected = model(inputs)
    assert (answer(graph, tmp_path / "wrong.onnx", inputs) - expected).abs().max() > 1e-2


@pytest.mark.parametrize(("budget", "groups"), [(1 << 20, 1), (4 * 2 * 2 * 11 * 4, 2), (4 * 2 * 2 * 11 * 3, 3), (1, 7)])
def test_groups_of_queries(budget: int, groups: int, tmp_path: Path) -> None:
    """Seven latents: in groups of 7, 4 and 3, 3 and 3 and 1, or one by one; self-attention has fewer keys, and fewer groups."""
    model, spec = encoder(qk=32, v=32)
    graph = trace(spec)
    counts = group_queries(graph, attention_shapes(graph, spec, {"B": 2, "M": 11}), budget=budget)
    assert counts[0] == groups
    assert counts[1] == counts[2] <= groups
    inputs = torch.randn(2, 11, 9)
    with torch.no_grad():
        expected = model(inputs)
    found = answer(graph, tmp_path / "grouped.onnx", inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert sum(node.op_type == "Softmax" for node in graph.graph) == sum(counts)


def test_groups_in_another_order_are_wrong(tmp_path: Path) -> None:
    model, spec = encoder(qk=32, v=32, latents=8)
    graph = trace(spec)
    group_queries(graph, attention_shapes(graph, spec, {"B": 2, "M": 11}), budget=4 * 2 * 2 * 11 * 4)
    decompose_attention(graph)
    together = next(node for node in graph.graph if node.op_type == "Concat" and len(node.inputs) == 2)
    first, second = together.inputs
    together.replace_input_with(0, second)
    together.replace_input_with(1, first)
    inputs = torch.randn(2, 11, 9)
    with torch.no_grad():
        expected = model(inputs)
    assert (answer(graph, tmp_path / "wrong.onnx", inputs) - expected).abs().max() > 1e-2
