"""Graphs for TensorRT: equal to the others, within the memory budget, and what TensorRT's own builder makes of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from heads import HEADS, Head, save_random_head
from rtx import build_all, fused

from perceiver_deploy import export_bundle
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import open_bundle

NAMED = {head.name: head for head in HEADS}
ALIKE = {  # the graphs of others, with another input or output
    "PerceiverForSequenceClassification",
    "PerceiverForImageClassificationLearned",
    "PerceiverForImageClassificationConvProcessing",
}
TINY = [pytest.param(head, id=head.name, marks=[pytest.mark.long] if head.name in ALIKE else []) for head in HEADS]


def export(head: Head, config: dict[str, Any], folder: Path, **options: Any) -> tuple[Path, Manifest]:
    save_random_head(folder / "checkpoint", head.name, config)
    manifest = export_bundle(
        task=head.task, checkpoint=folder / "checkpoint", output=folder / "bundle", target="tensorrt", **options
    )
    return folder / "bundle", manifest


@pytest.fixture(scope="module", params=TINY)
def tiny_fp16(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    config = request.param.tiny | {"d_latents": 64}  # four heads of 16, the smallest that fuse
    config |= {key: 64 for key in ("qk_channels", "v_channels") if key in config}
    return export(request.param, config, tmp_path_factory.mktemp("tiny"), precision="fp16")


def test_types(tiny_fp16: tuple[Path, Manifest]) -> None:
    """Strongly typed: the checker finds no operator with operands of two types; only the islands compute in float32."""
    folder, manifest = tiny_fp16
    for graph in manifest.graphs.values():
        onnx.checker.check_model(str(folder / graph.file), full_check=True)
        model = onnx.shape_inference.infer_shapes(onnx.load(folder / graph.file), strict_mode=True)
        values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {value.name: value.data_type for value in model.graph.initializer}
        assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} <= {
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.INT64,
        }
        for node in model.graph.node:
            assert node.domain == ""
            if node.op_type in {"MatMul", "Gemm", "Conv"}:
                assert types[node.output[0]] == onnx.TensorProto.FLOAT16, node.name
            if node.op_type in {"LayerNormalization", "Softmax", "Sin", "Cos"}:
                assert types[node.input[0]] == onnx.TensorProto.FLOAT, node.name


def test_islands_say_why(tiny_fp16: tuple[Path, Manifest]) -> None:
    _, manifest = tiny_fp16
    reasons = {reason for graph in manifest.choices["islands"].values() for reason in graph}
    assert any(reason.startswith("layer normalization: mean and variance") for reason in reasons)
    assert any(reason.startswith("softmax: ") for reason in reasons)


def check_fused(folder: Path, manifest: Manifest) -> int:
    """What the plan says TensorRT fuses, it fuses; how many attentions that are."""
    count = 0
    for name in manifest.graphs:
        planned = Counter(each["module"] for each in manifest.choices["attention"][name] if each["fuses"])
        found = fused(build_all(folder, manifest, name))
        assert not planned - found, f"{name}: not fused {planned - found}"
        count += planned.total()
    return count


def test_tensorrt_builds_and_fuses(tiny_fp16: tuple[Path, Manifest]) -> None:
    assert check_fused(*tiny_fp16) >= 2  # self-attention at least


@pytest.mark.published_size
@pytest.mark.long
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name)
def test_published_builds_and_fuses(head: Head, tmp_path: Path) -> None:
    assert check_fused(*export(head, head.published, tmp_path, precision="fp16")) >= 6


@pytest.mark.parametrize("name", ["PerceiverForOpticalFlow", "PerceiverForMaskedLM"])
def test_score_matrices_stay_within_the_budget(name: str, tmp_path: Path) -> None:
    """Counted in the graphs themselves, run at the largest sizes."""
    folder, manifest = export(NAMED[name], NAMED[name].tiny, tmp_path, memory_budget="1MiB")
    budget = manifest.choices["memory_budget"]
    largest, grouped = 0, 0
    sizes = {symbol: span.max for symbol, span in manifest.ranges.items()}
    for graph, entry in manifest.graphs.items():
        model = onnx.load(folder / entry.file)
        scores = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(score) for score in scores)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        inputs = {}
        for spec in entry.inputs:
            shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
            inputs[spec.name] = np.ones(shape, np.float32 if spec.dtype == "float32" else np.int64)
        found = session.run(scores, inputs)
        largest = max(largest, *(score.nbytes for score in found))
        plan = manifest.choices["attention"][graph]
        grouped += sum(each["groups"] > 1 for each in plan)
        assert max(each["score_bytes"] for each in plan) == max(score.nbytes for score in found)
    assert largest <= budget
    assert grouped or name != "PerceiverForOpticalFlow"


def test_heads_of_two_sizes_are_padded(tmp_path: Path) -> None:
    """The language model's: 32 channels a head for queries and keys, 160 for values; verified against torch at export."""
    head = NAMED["PerceiverForMaskedLM"]
    config = head.tiny | {"qk_channels": 256, "v_channels": 320, "d_latents": 320, "d_model": 320}
    folder, manifest = export(head, config, tmp_path)
    sizes = {tuple(each["head_sizes"]) for graph in manifest.choices["attention"].values() for each in graph}
    assert (40, 40) in sizes
    assert open_bundle(folder).manifest == manifest
