"""Bundles on OpenVINO's CPU plugin: the known answer of every task, in float32, bfloat16 and int8."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_models import occupancy_item
from published import real_frames
from shipped_tasks import TASKS

import perceiver_runtime as pr
from perceiver_runtime.backends import openvino as openvino_backend
from perceiver_runtime.bundle import memory_plan
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.known_answer import FILE, Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

try:
    openvino_backend.openvino()
except pr.BackendError:
    pytest.skip("OpenVINO is not here", allow_module_level=True)


def has_bfloat16() -> bool:
    core = openvino_backend.openvino().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def error(folder: Path, device: str) -> float:
    """The known answer's largest error, as a share of what is allowed for it."""
    bundle = open_bundle(folder)
    with open_pipeline(bundle, RuntimeOptions(device)) as pipeline:
        found = check_known_answer(pipeline, Sample.read(bundle.read(FILE)), tolerances(bundle.manifest))
        assert pipeline.provider.startswith("OpenVINO")
    return max(each["max_error"] / each["tolerance"] for each in found["outputs"].values())


@pytest.mark.parametrize("task", TASKS)
def test_every_task(task: str, shipped: Callable[..., Path]) -> None:
    output = shipped(task)
    assert error(output, "openvino") < 0.1
    if has_bfloat16():
        assert 1e-3 < error(output, "openvino-bf16") <= 1


def test_arrays_of_one_s_own(occupancy: Path, tmp_path: Path) -> None:
    """Any length and number of queries, in chunks, as on ONNX Runtime; from the command line too."""
    assert error(occupancy, "openvino") < 0.1
    items = [occupancy_item(length) for length in (3, 120)]
    with pr.load(occupancy, device="cpu") as local, pr.load(occupancy, device="openvino") as model:
        assert model.provider.startswith("OpenVINO")
        expected, found = (each(items, query_chunk=4) for each in (local, model))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one["occupancy"], other["occupancy"], rtol=0, atol=1e-5)
    assert np.abs(found[0]["occupancy"] - found[1]["occupancy"]).max() > 1e-3
    for name, value in items[1].items():
        np.save(tmp_path / f"{name}.npy", value)
    files = [f"{name}={tmp_path / name}.npy" for name in items[1]]
    assert main(["run", str(occupancy), *files, "--device", "openvino", "-o", str(tmp_path / "answer.npz")]) == 0
    with np.load(tmp_path / "answer.npz") as answer:
        np.testing.assert_allclose(answer["occupancy"], expected[1]["occupancy"], rtol=0, atol=1e-5)


def test_int8(shipped: Callable[..., Path]) -> None:
    """Nearer to float32 than on ONNX Runtime: activations have a scale for each group, not one for all."""
    output = shipped("fill-mask", precision="int8")
    text = "A bird that lives near the[MASK*4]"
    sample = Sample.read(output / FILE)
    errors = {}
    for device in ("cpu", "openvino", *(["openvino-bf16"] if has_bfloat16() else [])):
        with pr.load(output, device=device) as mlm:
            errors[device] = np.abs(mlm.known_answer(sample.inputs)["logits"] - sample.outputs["logits"]).max()
            assert len(mlm(text, top_k=1)[0].candidates[0].text) == 4
    assert 1e-3 < errors["openvino"] < errors["cpu"]


def test_positions_stay_float32(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed in bfloat16 they are noise: the check above sees the difference."""
    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    exact = error(small_bundle, "openvino-bf16")
    monkeypatch.setattr(openvino_backend, "sinusoids", lambda *_: None)
    assert error(small_bundle, "openvino-bf16") > 5 * exact


def test_grids_are_computed_as_torch_does(shipped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With large frequencies the order of multiplications shows."""
    exact = error(shipped("multimodal"), "openvino")
    monkeypatch.setattr(openvino_backend, "sinusoids", lambda *_: None)
    assert error(shipped("multimodal"), "openvino") > 2 * exact


def test_threads_share_a_pipeline(small_bundle: Path) -> None:
    frames = real_frames(60, 90)
    points = np.array([[10, 10], [60, 40]])
    with pr.load(small_bundle, device="openvino") as pipeline:
        expected = pipeline.at(*frames, points)
        found: list[np.ndarray] = []
        threads = [threading.Thread(target=lambda: found.append(pipeline.at(*frames, points))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for each in found:
            np.testing.assert_array_equal(each, expected)
    with pytest.raises(pr.BackendError, match="this pipeline was closed"):
        pipeline.at(*frames, points)


def test_a_large_encoder(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for each size, without memory between runs, in threads too: the same answers; what is refused says so."""
    pairs = [real_frames(60, 90), real_frames(70, 80), real_frames(60, 90)]
    with pr.load(small_bundle, device="openvino") as pipeline:
        expected = [pipeline(*pair) for pair in pairs]
    monkeypatch.setattr(memory_plan, "KEPT", 0)
    compiled: list[object] = []
    compile_model = openvino_backend._compile

    def counted(*given: Any) -> Any:
        compiled.append(given)
        return compile_model(*given)

    monkeypatch.setattr(openvino_backend, "_compile", counted)
    with pr.load(small_bundle, device="openvino") as pipeline:
        assert len(compiled) == 1  # the decoder
        found = [pipeline(*pair) for pair in pairs]
        threads = [threading.Thread(target=lambda pair=pair: found.append(pipeline(*pair))) for pair in pairs[:1] * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(compiled) > 1
    for one, other in zip(found, expected + expected[:1] * 3, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    assert np.abs(found[0]).max() > 1e-2
    with pytest.raises(pr.BackendError, match="this pipeline was closed"):
        pipeline(*pairs[0])


def test_a_processor_without_bfloat16(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32", "INT8"]

    library = openvino_backend.openvino()
    monkeypatch.setattr(library, "Core", Core)
    with pytest.raises(pr.BackendError, match="this processor has no bfloat16: use device='openvino'"):
        pr.load(small_bundle, device="openvino-bf16")


def test_without_openvino(small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "openvino.frontend.onnx", None)
    assert main(["run", str(small_bundle), "--sample", "--device", "openvino"]) == 5
    assert "OpenVINO cannot be imported" in (said := capsys.readouterr().err)
    assert "pip install openvino, or use device='cpu'" in said
    assert main(["doctor", str(small_bundle)]) == 0
    assert "openvino           no: OpenVINO cannot be imported" in capsys.readouterr().out
