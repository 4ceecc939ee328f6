"""`device="auto"` says where a bundle runs, and why, when that is not what the bundle was exported for."""

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import HuggingFace

import perceiver_runtime as pr
from perceiver_deploy import export_bundle
from perceiver_runtime.backends import onnxruntime as onnx_backend
from perceiver_runtime.backends import selection as backends
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks import pipeline

WHY = r"TensorRT cannot run here: TensorRT is not here: .* pip install tensorrt"
GPU = ("CUDAExecutionProvider", "CPUExecutionProvider")


@pytest.fixture(scope="module")
def trt_bundle(tiny: HuggingFace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("fallback") / "flow-trt"
    export_bundle(task="flow", checkpoint=tiny.folder, output=output, target="tensorrt")
    return output


@pytest.fixture(autouse=True)
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("perceiver_runtime.backends.tensorrt.library.NAMES", ("tensorrt_of_nobody",))


def said(action: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(each.message) for each in caught if each.category is pr.ProviderFallbackWarning]


def test_one_warning_says_where_and_why(trt_bundle: Path) -> None:
    with pytest.warns(
        pr.ProviderFallbackWarning, match=f"exported for TensorRT and runs on CPUExecutionProvider, slower. {WHY}"
    ):
        pr.load(trt_bundle).close()
    assert len(said(lambda: pr.load(trt_bundle).close())) == 1
    assert said(lambda: pr.load(trt_bundle, device="cpu").close()) == []  # as asked


def test_a_bundle_for_onnx_runtime_is_where_it_belongs(tiny_bundle: Path) -> None:
    assert said(lambda: pr.load(tiny_bundle).close()) == []
    assert said(lambda: pr.load(tiny_bundle, max_memory=10**9).close()) == []


def test_a_limit_takes_the_cpu(tiny_bundle: Path, trt_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where there is CUDA: the plan is not for it. A bundle without a plan is refused."""
    monkeypatch.setattr(backends, "choose_providers", lambda device: GPU if device == "auto" else GPU[1:])
    opened = []
    monkeypatch.setattr(pipeline, "open_graphs", lambda *_, device, **__: opened.append(device) or {})
    message = "runs on the CPU, not on CUDAExecutionProvider: max_memory is planned for ONNX Runtime on a CPU"
    with pytest.warns(pr.ProviderFallbackWarning, match=message):
        pr.load(tiny_bundle, max_memory=10**9)
    assert said(lambda: pr.load(tiny_bundle, max_memory=10**9, device="cpu")) == []
    assert opened == ["cpu", "cpu"]
    with pytest.raises(pr.InputError, match=r"no memory plan: export it again for ONNX Runtime, or leave out the memory limit"):
        pr.load(trt_bundle, max_memory=10**9)


def test_with_numpy_alone(trt_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing to get is TensorRT."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = r"which cannot run here: TensorRT is not here: .*. ONNX Runtime could run it on the CPU, slower: "
    with pytest.raises(pr.BackendError, match=message):
        pr.load(trt_bundle)


def test_bfloat16(trt_bundle: Path) -> None:
    bundle = open_bundle(trt_bundle)
    manifest = dataclasses.replace(bundle.manifest, precision="bf16")
    with pytest.raises(pr.BackendError, match=rf"in bfloat16, which no CPU runs: .* --fp16. {WHY}"):
        backends.open_graphs(dataclasses.replace(bundle, manifest=manifest), ["encode"])


@pytest.mark.filterwarnings("default::perceiver_runtime.ProviderFallbackWarning")
def test_the_command_line_says_it_in_one_line(trt_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(trt_bundle), "--json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    (line,) = captured.err.splitlines()
    assert line.startswith(f"perceiver verify: {trt_bundle} was exported for TensorRT and runs on CPUExecutionProvider")


def test_doctor_says_it(trt_bundle: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(trt_bundle), str(tiny_bundle), "--json"]) == 0
    captured = capsys.readouterr()
    elsewhere, usual = json.loads(captured.out)["bundles"]
    assert captured.err == ""
    assert "runs on CPUExecutionProvider, slower. TensorRT cannot run here" in elsewhere["fallback"]
    assert elsewhere["known_answer"] == usual["fallback"] == ""
    assert main(["doctor", str(trt_bundle)]) == 0
    text = capsys.readouterr().out
    assert "auto           " in text
    assert "was exported for TensorRT and runs on CPUExecutionProvider" in text


def test_nothing_else_is_hidden(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime that cannot start CUDA is said once, for all graphs of a pipeline."""
    monkeypatch.setattr(onnx_backend, "choose_providers", lambda device: GPU if device == "auto" else GPU[1:])
    (warning,) = said(lambda: pr.load(tiny_bundle).close())
    assert "could not start CUDAExecutionProvider" in warning
