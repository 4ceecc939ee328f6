"""TensorRT-RTX, an optional test dependency: NVIDIA's real ONNX parser and engine builder, which run without a GPU."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from perceiver_runtime.backends.tensorrt.builder import BuildOptions, build, spans
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import own_graph

MODELS = ("SM80", "SM86", "SM89", "SM120")  # A100, Orin-class desktop Ampere, Ada, Blackwell
EIGHT_BIT_MODELS = {"int8": ("SM86", "SM89", "SM120"), "fp8": ("SM89", "SM120")}  # fp8 began with Ada
_KERNEL = re.compile(rb'name=_gemm_mha_v2 .*?layers="([^"]*)"', re.DOTALL)
_TENSOR = re.compile(rb'tensor=\{[^\n]* name="([^"\n]+)"[^\n]* type=([a-z0-9_]+) \}')  # also of a part, sub_tensor
_PRODUCT = re.compile(rb'fully_connected=\{ name="[^"]*" output=\{[^}]*\} input=\{([^}]*)\}[^\n]* layers="([^"]*)"')
_NODE = re.compile(r"\[ONNX Layer: ((?:[^\]]*/)?MatMul[_0-9]*)\]")  # those of no module have no slash
_LAYER = re.compile(r"\[ONNX Layer: ([^\]]*)/Softmax")


def tensorrt_rtx() -> Any:
    """The module, or the test is skipped."""
    with contextlib.suppress(ImportError):
        import tensorrt_rtx_bindings

        return tensorrt_rtx_bindings
    pytest.skip("needs pip install --no-deps tensorrt_rtx_cu13_libs==1.7.1.116 tensorrt_rtx_cu13_bindings==1.7.1.116")


def build_all(bundle: Path, manifest: Manifest, name: str) -> bytes:
    """The engine of one graph for all of `MODELS`, with a profile over the manifest's ranges."""
    trt, entry = tensorrt_rtx(), manifest.graphs[name]
    options = BuildOptions(compute_capabilities=MODELS)
    return build(trt, *own_graph(bundle / entry.file), entry, spans(manifest.ranges, {}), options, lambda phase: None)


def fused(plan: bytes) -> Counter[str]:
    """How often each module's attention is one kernel in an engine."""
    return Counter(name for layers in _KERNEL.findall(plan) for name in _LAYER.findall(layers.decode()))


def product_types(plan: bytes) -> dict[str, set[str]]:
    """What each product is computed from in an engine, by its ONNX node; of those that are kernels of their own."""
    types = {name.decode(): kind.decode() for name, kind in _TENSOR.findall(plan)}
    found: dict[str, set[str]] = {}
    for inputs, layers in _PRODUCT.findall(plan):
        operands = re.findall(r'"([^"]+)"', inputs.decode())[:2]
        for node in _NODE.findall(layers.decode()):
            found.setdefault(node, set()).update(types[name] for name in operands)
    return found
