"""Tracing keeps what a model computes: small constants are no rounding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from perceiver_export import trace as tracing
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.trace import trace

EPSILON = 1e-9


class Normalised(nn.Module):
    """RMSNorm of values so small that its epsilon decides, written and built in; a scale near 1; scalars."""

    def forward(self, x: Tensor) -> Tensor:
        written = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON)
        built_in = nn.functional.rms_norm(x, (x.shape[-1],), eps=EPSILON)
        return torch.cat([written, built_in, x * 0.999995, x / 0.999995, (x - EPSILON) * 1e5, x.sum() + EPSILON + 0 * x], 1)


def difference() -> float:
    """Between torch and the traced graph, as a share of the largest value of each part."""
    x = 1e-6 * torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 8), np.float32))
    spec = GraphSpec("encode", Normalised(), {"x": x}, {"x": {0: torch.export.Dim("B")}}, {"y": ("B", 18, 8)})
    model = trace(spec)
    assert [value.name for value in model.graph.inputs] == ["x"]
    session = onnxruntime.InferenceSession(
        ir.serde.serialize_model(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x.numpy()})
    expected = Normalised()(x).numpy()
    parts = [(found[:, i : i + 3], expected[:, i : i + 3]) for i in range(0, 18, 3)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in parts)


def test_small_constants_stay() -> None:
    assert difference() < 1e-6


def test_without_the_guard_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, onnxscript no longer drops them, and the guard can go."""
    monkeypatch.setattr(tracing, "small_constants_kept", lambda graph: torch.no_grad())
    assert difference() > 1e-6
