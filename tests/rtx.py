"""TensorRT-RTX, an optional test dependency: NVIDIA's real ONNX parser and engine builder, which run without a GPU."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from perceiver_runtime.manifest import Manifest

MODELS = ("SM80", "SM86", "SM89", "SM120")  # A100, Orin-class desktop Ampere, Ada, Blackwell
_KERNEL = re.compile(rb'name=_gemm_mha_v2 .*?layers="([^"]*)"', re.DOTALL)
_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)/Softmax")


def tensorrt_rtx() -> Any:
    """The module, or the test is skipped."""
    with contextlib.suppress(ImportError):
        import tensorrt_rtx_bindings

        return tensorrt_rtx_bindings
    pytest.skip("needs pip install --no-deps tensorrt_rtx_cu13_libs==1.7.1.116 tensorrt_rtx_cu13_bindings==1.7.1.116")


def build(bundle: Path, manifest: Manifest, name: str) -> bytes:
    """The engine of one graph for all of `MODELS`, with a profile over the manifest's ranges."""
    trt = tensorrt_rtx()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(bundle / manifest.graphs[name].file))
    assert parsed, [parser.get_error(number).desc() for number in range(parser.num_errors)]
    profile = builder.create_optimization_profile()
    for spec in manifest.graphs[name].inputs:
        least, most = (
            [getattr(manifest.ranges[size], end) if isinstance(size, str) else size for size in spec.shape]
            for end in ("min", "max")
        )
        profile.set_shape(spec.name, least, most, most)
    config = builder.create_builder_config()
    assert config.add_optimization_profile(profile) == 0
    config.num_compute_capabilities = len(MODELS)
    for number, model in enumerate(MODELS):
        config.set_compute_capability(getattr(trt.ComputeCapability, model), number)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, f"{name} did not build"
    return bytes(memoryview(plan))


def fused(plan: bytes) -> Counter[str]:
    """How often each module's attention is one kernel in an engine."""
    return Counter(name for layers in _KERNEL.findall(plan) for name in _LAYER.findall(layers.decode()))
