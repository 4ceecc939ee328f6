"""Attention written in other people's ways becomes one node: equal to torch, masked and not; what is none is named."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from perceiver_export.analysis.attention_shapes import attention_shapes
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.attention.lower_attention_ort import lower_attention_ort
from perceiver_export.passes.attention.recognise_attention import recognise_attention
from perceiver_export.trace import trace

HEADS, SIZE, LATENTS = 4, 8, 6


class Written(nn.Module):
    """Latents look at inputs, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, width = way, HEADS * SIZE
        self.latents = nn.Parameter(torch.randn(1, LATENTS, width))
        self.q, self.k, self.v = (nn.Linear(channels, width, bias=False) for channels in (width, 5, 5))
        self.norm, self.out = nn.RMSNorm(SIZE), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        latents = self.latents.expand(x.shape[0], -1, -1)
        q, k, v = (layer(y) for layer, y in ((self.q, latents), (self.k, x), (self.v, x)))
        return self.out(getattr(self, self.way)(q, k, v, mask.bool()))

    def split(self, y: Tensor) -> Tensor:
        return y.view(y.shape[0], y.shape[1], HEADS, SIZE).transpose(1, 2)

    def join(self, y: Tensor) -> Tensor:
        return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], HEADS * SIZE)

    def sdpa(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*map(self.split, (q, k, v)), attn_mask=seen[:, None, None]))

    def unmasked(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*map(self.split, (q, k, v)), scale=0.5))

    def einsum(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Without moving heads: b q h d, b m h d."""
        q, k, v = (y.view(y.shape[0], y.shape[1], HEADS, SIZE) for y in (q, k, v))
        scores = torch.einsum("bqhd,bmhd->bhqm", q, k) / SIZE**0.5
        weights = scores.masked_fill(~seen[:, None, None], float("-inf")).softmax(dim=-1)
        return torch.einsum("bhqm,bmhd->bqhd", weights, v).flatten(2)

    def products(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        q, k, v = map(self.split, (q * SIZE**-0.5, k, v))
        scores = torch.where(seen[:, None, None], q @ k.transpose(-1, -2), -1e9)
        return self.join(torch.softmax(scores, dim=-1) @ v)

    def added(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        bias = torch.where(seen, 0.0, -1e9)[:, None, None]
        q, k, v = map(self.split, (q, k, v))
        return self.join(torch.softmax(q @ k.transpose(-1, -2) / SIZE**0.5 + bias, dim=-1) @ v)

    def normed(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """QK-norm, so that heads are no plain split."""
        q, k, v = map(self.split, (q, k, v))
        scores = self.norm(q) @ self.norm(k).transpose(-1, -2) * 3.0
        return self.join(scores.masked_fill(~seen[:, None, None], -1e9).softmax(-1) @ v)

    def folded(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Heads folded into the batch, the mask repeated for them."""
        q, k, v = (self.split(y).flatten(0, 1) for y in (q, k, v))
        hidden = ~seen[:, None, None].expand(-1, HEADS, -1, -1).flatten(0, 1)
        weights = (torch.bmm(q, k.transpose(1, 2)) * SIZE**-0.5).masked_fill(hidden, -1e9).softmax(-1)
        return self.join(torch.bmm(weights, v).unflatten(0, (-1, HEADS)))

    def repeated(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """The same, the mask repeated as einops does."""
        q, k, v = (self.split(y).flatten(0, 1) for y in (q, k, v))
        hidden = ~seen[:, None].expand(-1, HEADS, -1).reshape(-1, 1, seen.shape[1])
        weights = (torch.bmm(q, k.transpose(1, 2)) * SIZE**-0.5).masked_fill(hidden, -1e9).softmax(-1)
        return self.join(torch.bmm(weights, v).unflatten(0, (-1, HEADS)))

    def one_head(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        return ((q @ k.transpose(1, 2) * 0.2).masked_fill(~seen[:, None], -1e9)).softmax(-1) @ v

    def one_for_all(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Learned queries that were not repeated for the batch."""
        q, k, v = map(self.split, (q[:1], k, v))
        return self.join((q @ k.transpose(-1, -2) * 0.2).masked_fill(~seen[:, None, None], -1e9).softmax(-1) @ v)

    def rearranged(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """The mask reshaped, as einops does; parts of heads, of which there is one."""
        q, k, v = map(self.split, (q * SIZE**-0.5, k, v))
        ((q, k, v),) = zip(*(each.split(HEADS, dim=1) for each in (q, k, v)))
        hidden = (~seen).reshape(seen.shape[0], 1, 1, seen.shape[1])
        return self.join((q @ k.transpose(-1, -2)).masked_fill(hidden, -1e9).softmax(-1) @ v)

    def biased(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        q, k, v = map(self.split, (q, k, v))
        return self.join(torch.softmax(q @ k.transpose(-1, -2) + k.sum(-1)[:, :, None], dim=-1) @ v)

    def gated(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Over queries, as slot attention has it."""
        q, k, v = map(self.split, (q, k, v))
        return self.join(torch.softmax(q @ k.transpose(-1, -2), dim=-2) @ v)


def spec_of(way: str) -> tuple[Written, GraphSpec]:
    model = Written(way).eval()
    batch, length = Dim("B", min=1), Dim("M", min=1)
    example = {"x": torch.randn(2, 7, 5), "mask": torch.ones(2, 7, dtype=torch.int64)}
    dynamic = {"x": {0: batch, 1: length}, "mask": {0: batch, 1: length}}
    return model, GraphSpec("encode", model, example, dynamic, {"y": ("B", LATENTS, HEADS * SIZE)}, foreign=True)


def answer(graph: ir.Model, path: Path, x: Tensor, mask: Tensor) -> Any:
    import onnxruntime

    ir.save(graph, path)
    inputs = {
        name: value.numpy() for name, value in (("x", x), ("mask", mask)) if name in {each.name for each in graph.graph.inputs}
    }
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


WAYS = [
    "sdpa",
    "unmasked",
    "einsum",
    "products",
    "added",
    "normed",
    "folded",
    "repeated",
    "one_head",
    "one_for_all",
    "rearranged",
]


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_ways_of_writing(way: str, tmp_path: Path) -> None:
    """One attention, no softmax left, of any batch and length; equal to torch where some keys are hidden."""
    model, spec = spec_of(way)
    graph = trace(spec)
    count, left = recognise_attention(graph)
    kinds = Counter(node.op_type for node in graph.graph)
    assert (kinds["Attention"], kinds["Softmax"], kinds["Einsum"], left) == (1, 0, 0, {})
    assert count == (0 if way in ("sdpa", "unmasked") else 1)  # those are one call of torch's
    (node,) = (node for node in graph.graph if node.op_type == "Attention")
    assert node.attributes["num_heads"].as_int() == (1 if way == "one_head" else HEADS)
    assert len(node.inputs) == (3 if way == "unmasked" else 4)
    lower_attention_ort(graph)
    for batch, length in ((1, 1), (3, 11)):
        x, mask = torch.randn(batch, length, 5), torch.ones(batch, length, dtype=torch.int64)
        mask[-1, length // 2 + 1 :] = 0
        expected = model(x, mask)
        found = answer(graph, tmp_path / "graph.onnx", x, mask)
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=5e-6)
    assert np.abs(found - model(x.flip(0), mask).numpy()).max() > 1e-2
    if way != "unmasked":
        assert np.abs(found - model(x, torch.ones_like(mask)).numpy()).max() > 1e-3


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("biased", "its scores have a bias added that is no mask of keys"),
        ("gated", "its softmax is not over the last axis"),
    ],
)
def test_what_is_no_such_attention(way: str, reason: str) -> None:
    graph = trace(spec_of(way)[1])
    count, left = recognise_attention(graph)
    assert (count, list(left.values())) == (0, [reason])
    assert sum(node.op_type == "Softmax" for node in graph.graph) == 1


def test_within_a_memory_budget() -> None:
    """Scores of one head are stored: latents look in groups, as our own do."""
    _, spec = spec_of("one_head")
    graph = trace(spec)
    recognise_attention(graph)
    (shape,) = attention_shapes(graph, spec, {"B": 1, "M": 1000})
    assert (shape.queries, shape.keys, shape.heads, shape.fixed_queries) == (LATENTS, 1000, 1, True)
    lower_attention_ort(graph, [shape], budget=4 * 1000 * 2)
    assert sum(node.op_type == "Softmax" for node in graph.graph) == 3
