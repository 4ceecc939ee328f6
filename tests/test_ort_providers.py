"""ONNX Runtime's CUDA and TensorRT providers, on a stand-in: options, libraries, GPUs, caches."""

import json
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import pytest
from fake_ort import FakeOnnxRuntime
from own_models import occupancy_item

import perceiver_runtime as pr
from perceiver_runtime.backends import onnxruntime as onnx_backend
from perceiver_runtime.backends import ort_providers, placement
from perceiver_runtime.backends.ort_providers import CUDA, TENSORRT, Session
from perceiver_runtime.backends.tensorrt import cache, machine
from perceiver_runtime.bundle.manifest import PRECISIONS
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.known_answer import Sample

OPTIONS = json.loads((Path(__file__).parent / "data/onnxruntime_gpu-1.31.1.json").read_text())  # read off the wheel's libraries
FRAMES = np.random.default_rng(0).integers(0, 255, (2, 64, 100, 3), np.uint8)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeOnnxRuntime:
    stand_in = FakeOnnxRuntime()
    cuda = fake_gpu.fake_cuda(fake_gpu.Device(gpus=2))
    monkeypatch.setattr(onnx_backend, "onnxruntime", lambda: stand_in)
    monkeypatch.setattr("perceiver_runtime.backends.cuda.cuda", lambda: cuda)
    monkeypatch.setattr(cache, "cuda", lambda: cuda)
    monkeypatch.setenv("PERCEIVER_CACHE", str(tmp_path / "cache"))
    return stand_in


@pytest.mark.parametrize("provider", [CUDA, TENSORRT], ids=lambda provider: provider.name)
def test_every_option_is_one_of_the_provider(provider: ort_providers.Provider) -> None:
    given = provider.options(Session("fp16", 1, max_memory=10**9, engines=Path("a"), timings=Path("b")))
    assert len(given) >= 6
    assert set(given) <= set(OPTIONS[provider.name])
    assert all(isinstance(value, str) for value in given.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_float32_is_float32(precision: str) -> None:
    assert CUDA.options(Session(precision))["use_tf32"] == "0"


def test_what_float32_is_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ort_providers.line(CUDA.name, 0) == "CUDAExecutionProvider (float32 without TF32)"
    assert ort_providers.line(CUDA.name, 1) == "CUDAExecutionProvider (GPU 1, float32 without TF32)"
    assert ort_providers.line("CPUExecutionProvider", 0) == "CPUExecutionProvider"
    assert "float32 with TF32 unless NVIDIA_TF32_OVERRIDE=0" in ort_providers.line(TENSORRT.name, 0)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert ort_providers.line(TENSORRT.name, 0) == "TensorrtExecutionProvider (float32 without TF32)"


def test_searches_are_for_fixed_shapes() -> None:
    assert CUDA.options(Session("fp32", dynamic=True))["cudnn_conv_algo_search"] == "HEURISTIC"
    assert CUDA.options(Session("fp32", dynamic=False))["cudnn_conv_algo_search"] == "EXHAUSTIVE"


def test_on_cuda(tiny_bundle: Path, library: FakeOnnxRuntime) -> None:
    """Libraries first, once; latents stay on the GPU of that number; the answer is the CPU's."""
    with pr.load(tiny_bundle, device="cpu") as flow:
        expected = flow(*FRAMES)
    assert library.events == ["InferenceSession"] * 2
    library.events.clear()
    with pr.load(tiny_bundle, device="cuda:1") as flow:
        assert flow.provider == "CUDAExecutionProvider (GPU 1, float32 without TF32)"
        np.testing.assert_array_equal(flow(*FRAMES), expected)
    pr.load(tiny_bundle, device="cuda:1").close()
    assert library.events == ["preload_dlls", *["InferenceSession"] * 4]
    encode, decode = library.sessions[2:4]
    for session in (encode, decode):
        assert session.providers["CUDAExecutionProvider"] == CUDA.options(Session("fp32", 1))
        assert session.providers["CPUExecutionProvider"] == {}
        assert session.shrunk == []
    assert set(encode.bound) == {("cuda", 1)}
    assert set(decode.bound) == {("cuda", 1), ("cpu", 0)}


def test_arrays_on_cuda(occupancy: Path, library: FakeOnnxRuntime) -> None:
    """Latents stay on the GPU; queries in chunks have the CPU's answers."""
    item = occupancy_item(40)
    with pr.load(occupancy, device="cpu") as shape:
        expected = shape(item, query_chunk=4)["occupancy"]
    with pr.load(occupancy, device="cuda:1") as shape:
        np.testing.assert_array_equal(shape(item, query_chunk=4)["occupancy"], expected)
    encode, decode = library.sessions[-2:]
    assert set(encode.bound) == {("cuda", 1)}
    assert ("cuda", 1) in decode.bound


def test_a_memory_limit(tiny_bundle: Path, library: FakeOnnxRuntime) -> None:
    with pr.load(tiny_bundle, device="cuda", max_memory="300MB") as flow:
        flow(*FRAMES)
    for session in library.sessions:
        assert session.providers["CUDAExecutionProvider"]["gpu_mem_limit"] == "300000000"
        assert set(session.shrunk) == {"gpu:0"}
    with pytest.raises(pr.UsageError, match=r"not for ort-tensorrt: leave out the limit"):
        pr.load(tiny_bundle, device="ort-tensorrt", max_memory="300MB")


def test_libraries_that_do_not_load(tiny_bundle: Path, library: FakeOnnxRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    library.starts, library.said = False, "Failed to load libcudnn.so.9: no such file\nPlease follow a page"
    with pytest.raises(pr.BackendError, match=r"could not start CUDAExecutionProvider \(Failed to load libcudnn.so.9: no such"):
        pr.load(tiny_bundle, device="cuda")
    with pytest.warns(pr.ProviderFallbackWarning, match=r"libcudnn.so.9: no such file; check the driver"):
        pr.load(tiny_bundle).close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("device", ["cuda:2", "ort-tensorrt:2"])
def test_a_gpu_that_is_not_there(device: str, tiny_bundle: Path, library: FakeOnnxRuntime) -> None:
    with pytest.raises(pr.BackendError, match=r"there is no GPU 2 here: CUDA finds 2, numbered from 0"):
        pr.load(tiny_bundle, device=device)


def test_engines_of_onnxruntime_are_kept(
    tiny_bundle: Path, library: FakeOnnxRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for each graph and GPU, the user's own; measurements are shared by the graphs of a machine."""

    def folders(device: str) -> list[tuple[str, str]]:
        library.sessions.clear()
        with pr.load(tiny_bundle, device=device) as pipeline:
            pipeline.known_answer(Sample.read(tiny_bundle / "sample.npz").inputs)
        found = [session.providers["TensorrtExecutionProvider"] for session in library.sessions]
        assert all(each["trt_engine_cache_enable"] == each["trt_timing_cache_enable"] == "1" for each in found)
        return [(each["trt_engine_cache_path"], each["trt_timing_cache_path"]) for each in found]

    (encode, timings), (decode, same) = first = folders("ort-tensorrt")
    assert timings == same
    assert len({encode, decode, timings}) == 3
    for name in (encode, decode, timings):
        assert Path(name).parent == tmp_path / "cache/ort-tensorrt"
        assert Path(name).stat().st_mode & 0o777 == 0o700
    assert folders("ort-tensorrt") == folders("ort-tensorrt:1") == first  # two GPUs of one kind
    monkeypatch.setattr(machine, "gpu_name", lambda gpu: f"card {gpu}")
    assert not {*sum(folders("ort-tensorrt:1"), ())} & {*sum(folders("ort-tensorrt:0"), ())}
    assert main(["build", "--prune", "all"]) == 0
    assert not Path(encode).parent.exists()
    Path(encode).parent.mkdir(mode=0o755)
    with pytest.raises(pr.BackendError, match=r"open to others, and engines run as code"):
        pr.load(tiny_bundle, device="ort-tensorrt")


def test_spread_over_gpus(tiny_bundle: Path, library: FakeOnnxRuntime) -> None:
    """Calls take turns, each with its own latents, and a closed pipeline is closed everywhere."""
    with pr.load(tiny_bundle, device="cpu") as flow:
        expected = flow(*FRAMES)
    library.sessions.clear()
    with pr.load(tiny_bundle, device=["cuda:0", "cuda:1"]) as flow:
        assert flow.provider.count("CUDAExecutionProvider") == 2
        for _ in range(4):
            np.testing.assert_array_equal(flow(*FRAMES), expected)
    runs = [len(session.bound) for session in library.sessions]
    assert runs[0] == runs[2] > 0
    assert runs[1] == runs[3] > 0
    with pytest.raises(pr.BackendError, match=r"this pipeline was closed"):
        flow(*FRAMES)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:", r"unknown device 'cuda:': give a name, and for a GPU its number, such as cuda:1"),
        ("cuda:one", r"unknown device 'cuda:one'"),
        ("cuda:-1", r"unknown device 'cuda:-1'"),
        ("cpu:1", r"device 'cpu:1': only cuda:0, .*tensorrt:0.* and so on have a number, that of a GPU"),
        ("auto:0", r"device 'auto:0': only cuda:0"),
        ("gpu", r"unknown device 'gpu'; available: auto, cpu, cuda"),
        ([], r"an empty list of devices"),
        (["cpu", "cpu"], r"cpu, cpu names a device twice"),
    ],
)
def test_what_is_no_device(device: Any, message: str, tiny_bundle: Path) -> None:
    with pytest.raises(pr.UsageError, match=message):
        pr.load(tiny_bundle, device=device)


def test_names_with_commas() -> None:
    assert placement.placements("cuda:0,cuda:1") == ["cuda:0", "cuda:1"]
    assert placement.Placement.read("cuda:12") == placement.Placement("cuda", 12)
