"""Heads padded to multiples of 8 for ONNX Runtime's CUDA provider: equal to the model, run on the CPU; wrong rewrites show."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from conftest import HuggingFace
from test_passes_tensorrt import encoder

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_export.graph_spec import GraphSpec
from perceiver_export.passes.attention.decompose_attention import attention_nodes
from perceiver_export.passes.attention.lower_attention_cuda import lower_attention_cuda
from perceiver_export.passes.attention.pad_to_eights import pad_to_eights
from perceiver_export.passes.exact.fold_kv_projections import fold_kv_projections
from perceiver_export.passes.patterns import linear_after
from perceiver_export.trace import trace
from perceiver_io import PerceiverModel

INPUTS = torch.randn(3, 11, 9, generator=torch.Generator().manual_seed(0))


def answer(graph: ir.Model, path: Path) -> torch.Tensor:
    lower_attention_cuda(graph)
    assert {node.op_type for node in graph.graph} >= {"MultiHeadAttention"}
    ir.save(graph, path)
    found: np.ndarray = onnxruntime.InferenceSession(path).run(None, {"inputs": INPUTS.numpy()})[0]
    return torch.from_numpy(found)


def made(qk: int, v: int, heads: int) -> tuple[PerceiverModel, GraphSpec, torch.Tensor]:
    torch.manual_seed(1)
    model, spec = encoder(qk=qk, v=v, heads=heads)
    with torch.no_grad():
        return model, spec, model(INPUTS)


@pytest.mark.parametrize(
    ("qk", "v", "heads", "padded"),
    [(34, 60, 2, 3), (32, 60, 2, 3), (34, 64, 2, 3), (10, 12, 1, 3), (32, 160, 2, 0), (8, 16, 1, 0)],
)
def test_padded_to_eights(qk: int, v: int, heads: int, padded: int, tmp_path: Path) -> None:
    _, spec, expected = made(qk, v, heads)
    graph = trace(spec)
    assert pad_to_eights(graph) == padded
    for node in attention_nodes(graph):
        widths = [value.shape[2] // heads for value in node.inputs if value is not None and value.shape is not None]
        assert widths == [-(-size // heads // 8) * 8 for size in (qk, qk, v)]
    torch.testing.assert_close(answer(graph, tmp_path / "padded.onnx"), expected, rtol=1e-4, atol=1e-4)


def test_inputs_that_no_layer_makes(tmp_path: Path) -> None:
    """Keys and values that are the normalised inputs, of 9 channels: one Pad for both."""
    _, spec, expected = made(24, 40, 1)
    graph = trace(spec)
    assert fold_kv_projections(graph) == 1
    assert pad_to_eights(graph) == 1
    assert [node.op_type for node in graph.graph].count("Pad") == 1
    first = attention_nodes(graph)[0]
    assert first.inputs[1] is first.inputs[2]
    torch.testing.assert_close(answer(graph, tmp_path / "padded.onnx"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", ["scale", "padding"])
def test_wrong_rewrites_show(wrong: str, tmp_path: Path) -> None:
    """Scaled by the padded size; or padded with ones that are read."""
    _, spec, expected = made(10, 12, 1) if wrong == "scale" else made(24, 40, 1)
    graph = trace(spec)
    if wrong == "padding":
        fold_kv_projections(graph)
    pad_to_eights(graph)
    if wrong == "scale":
        for node in attention_nodes(graph):
            del node.attributes["scale"]
    else:
        (pad,) = [node for node in graph.graph if node.op_type == "Pad"]
        one = ir.Value(name="one", shape=ir.Shape([]), const_value=ir.tensor(np.array(1, np.float32), name="one"))
        one.type = ir.TensorType(ir.DataType.FLOAT)
        graph.graph.register_initializer(one)
        pad.resize_inputs(3)
        pad.replace_input_with(2, one)
        after = linear_after(attention_nodes(graph)[0].outputs[0])
        assert after is not None
        assert not after.weight[9:].any()
        after.replace(np.concatenate([after.weight[:9], np.ones_like(after.weight[9:])]), after.bias, "wrong")
    assert (answer(graph, tmp_path / "wrong.onnx") - expected).abs().max() > 1e-2


def test_a_bundle_for_cuda(tiny: HuggingFace, tiny_bundle: Path, tmp_path: Path) -> None:
    """Runs on a CPU too, and gives what the other gives."""
    export_bundle(task="flow", checkpoint=tiny.folder, output=tmp_path / "cuda", target="cuda")
    frames = np.random.default_rng(0).integers(0, 255, (2, 40, 56, 3), np.uint8)
    with pr.load(tmp_path / "cuda", device="cpu") as flow, pr.load(tiny_bundle, device="cpu") as plain:
        assert flow.manifest.target == "cuda"
        expected = plain(*frames)
        swapped = np.abs(flow(*frames[::-1]) - expected).max()  # random weights move little: their own scale is the measure
        assert np.abs(flow(*frames) - expected).max() < 0.02 * swapped
        assert swapped > 1e-4
