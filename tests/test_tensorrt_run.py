"""Running engines without a GPU: the whole path on stand-ins of libcudart and TensorRT that compute with ONNX Runtime."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Once
from fake_engines import GPU, NOTHING, cached, exported, installed
from heads import HEADS
from own_models import make_occupancy

import perceiver_deploy as pd
import perceiver_runtime as pr
from perceiver_deploy.cli import build_engines
from perceiver_runtime.backends.tensorrt import backend, cache
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.asked_sizes import asked_sizes
from perceiver_runtime.tasks.known_answer import Sample
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

NAMED = {head.name: head for head in HEADS}
FRAMES = np.random.default_rng(0).integers(0, 255, (2, 40, 56, 3), np.uint8)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GPU:
    return installed(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def flow_bundle(once: Once) -> Path:
    return exported("PerceiverForOpticalFlow", once)


@pytest.fixture(scope="module")
def text_bundle(once: Once) -> Path:
    return exported("PerceiverForMaskedLM", once)


@pytest.fixture(scope="module")
def multimodal_bundle(once: Once) -> Path:
    return exported("PerceiverForMultimodalAutoencoding", once)


@pytest.fixture(scope="module")
def image_bundle(once: Once) -> Path:
    return exported("PerceiverForImageClassificationFourier", once)


@pytest.fixture(scope="module")
def arrays_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one's own, with a mask and queries."""
    output = tmp_path_factory.mktemp("arrays") / "bundle"
    inputs, queries = {"points": pd.Arrays(("M", 3), {"M": (1, 300)}, mask="mask")}, {"positions": pd.Positions(3, most=500)}
    outputs = {"occupancy": pd.Arrays()}
    pd.export_model(make_occupancy(), output, inputs=inputs, queries=queries, outputs=outputs, target="tensorrt")
    return output


@pytest.mark.parametrize("bundle", ["flow_bundle", "text_bundle", "multimodal_bundle", "image_bundle", "arrays_bundle"])
def test_known_answers(bundle: str, gpu: GPU, request: pytest.FixtureRequest) -> None:
    """As on the CPU, twice over: directly, then recorded, then replayed; nothing is left when it closes."""
    folder: Path = request.getfixturevalue(bundle)
    sample = Sample.read(folder / "sample.npz")
    with pr.load(folder, device="cpu") as pipeline:
        expected = pipeline.known_answer(sample.inputs)
    with pr.load(folder, device="tensorrt") as pipeline:
        assert pipeline.provider == "TensorRT 10.3.0"
        for _ in range(4):
            found = pipeline.known_answer(sample.inputs)
            for name in expected:
                np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
        assert gpu.device.calls.count("cudaGraphLaunch") >= 2
        del found
    del pipeline  # with the latents of its last clip
    assert gpu.device.held == NOTHING


def test_the_order_of_calls(image_bundle: Path, gpu: GPU) -> None:
    """Inputs go over, encode runs, its latents stay, decode runs on them, the logits come back."""
    inputs = Sample.read(image_bundle / "sample.npz").inputs
    with pr.load(image_bundle, device="tensorrt") as pipeline:
        gpu.device.calls.clear()
        pipeline.known_answer(inputs)
        first = [call for call in gpu.device.calls if call != "cudaSetDevice"]
        gpu.device.calls.clear()
        pipeline.known_answer(inputs)
        pipeline.known_answer(inputs)
        later = [call for call in gpu.device.calls if call != "cudaSetDevice"]
    assert first == [
        *("cudaStreamCreateWithFlags", "cudaMalloc", "cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync", "execute_async_v3"),
        *("cudaMalloc", "cudaMemcpyAsync", "cudaStreamSynchronize"),  # the latents, to where they are kept
        *("cudaStreamCreateWithFlags", "cudaMalloc", "cudaMalloc", "cudaMemcpyAsync", "execute_async_v3"),
        *("cudaHostAlloc", "cudaMemcpyAsync", "cudaStreamSynchronize"),
    ]
    recorded = ["cudaStreamBeginCapture", "execute_async_v3", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"]
    assert later[:6] == ["cudaMemcpyAsync", *recorded, "cudaGraphDestroy"]
    assert later[-8:] == [  # third time: no TensorRT, no allocation
        *("cudaMemcpyAsync", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"),
        *("cudaMemcpyAsync", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"),
    ]


def test_dense_flow_and_points(flow_bundle: Path, gpu: GPU) -> None:
    points = np.array([[3, 4], [50, 2], [8, 39]])
    with pr.load(flow_bundle, device="cpu") as flow:
        expected, expected_tracks = flow(*FRAMES, query_chunk=700), flow.at(*FRAMES, points)
    with pr.load(flow_bundle, device="tensorrt") as flow:
        np.testing.assert_allclose(flow(*FRAMES, query_chunk=700), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(flow.at(*FRAMES, points), expected_tracks, rtol=1e-5, atol=1e-6)
        assert np.abs(flow(*FRAMES[::-1]) - expected).max() > 100 * 1e-6  # the other way round is not the same


def test_changing_shapes(text_bundle: Path, gpu: GPU) -> None:
    texts = ["a [MASK*3] b", "quite a lot longer than [MASK*2] before", "x[MASK]"]
    with pr.load(text_bundle, device="cpu") as mlm:
        expected = [mlm(text) for text in texts]
    with pr.load(text_bundle, device="tensorrt") as mlm:
        for _ in range(3):
            for text, spans in zip(texts, expected):
                found = mlm(text)
                assert [[each.text for each in span.candidates] for span in found] == [
                    [each.text for each in span.candidates] for span in spans
                ]


def test_threads(flow_bundle: Path, gpu: GPU) -> None:
    pairs = [(np.roll(FRAMES[0], shift, 1), FRAMES[1]) for shift in range(6)]
    with pr.load(flow_bundle, device="tensorrt") as flow:
        alone = [flow(*pair) for pair in pairs]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda pair: flow(*pair), pairs * 3))
    for place, field in enumerate(together):
        np.testing.assert_array_equal(field, alone[place % 6])
    assert gpu.device.held == NOTHING


def test_an_engine_that_cannot_be_recorded_runs_anyway(image_bundle: Path, gpu: GPU) -> None:
    gpu.device.capturable = False
    inputs = Sample.read(image_bundle / "sample.npz").inputs
    with pr.load(image_bundle, device="tensorrt") as pipeline:
        answers = [pipeline.known_answer(inputs)["logits"] for _ in range(4)]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert gpu.device.calls.count("cudaStreamBeginCapture") == 2  # one attempt for each graph


def test_failures_while_running(flow_bundle: Path, gpu: GPU) -> None:
    with pr.load(flow_bundle, device="tensorrt") as flow:
        gpu.device.memory = 100
        with pytest.raises(pr.BackendError, match=r"no \d+ MB on the GPU, 0 of 0 MB are free: decode fewer.*cudaErrorMemory"):
            flow(*FRAMES)
        gpu.device.memory = 1 << 30
        expected = flow(*FRAMES)
        gpu.device.memory = gpu.device.used  # full, mostly of blocks that may be used again
        np.testing.assert_array_equal(flow(*FRAMES, query_chunk=300), flow(*FRAMES, query_chunk=300))
        gpu.device.memory = 1 << 30
        gpu.trt.fail_run = True
        with pytest.raises(pr.BackendError, match=r"code failed while running: an illegal memory access"):
            flow(*FRAMES)
        gpu.trt.fail_run = False
        np.testing.assert_array_equal(flow(*FRAMES), expected)
    with pytest.raises(pr.BackendError, match=r"this pipeline was closed: load the bundle again"):
        flow(*FRAMES)
    assert gpu.device.held == NOTHING


def test_a_shape_outside_the_profile(text_bundle: Path, gpu: GPU, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (asked,) = asked_sizes(open_bundle(text_bundle))["L"]
    assert main(["build", str(text_bundle), "--profile", f"L=1:{asked}:{asked}"]) == 0
    built = len(gpu.trt.builds)
    with pr.load(text_bundle, device="tensorrt") as mlm:
        mlm("short [MASK]")
        with pytest.raises(pr.InputError, match=rf"has shape \(1, \d+\), the engine was built for \(1, 1\) to \(8, {asked}\)"):
            mlm("x" * asked + "[MASK]")
    assert len(gpu.trt.builds) == built == len(cached(tmp_path))  # what was built last is what runs


def test_a_profile_that_leaves_out_what_the_bundle_asks_for(
    flow_bundle: Path, gpu: GPU, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tile, 40x56, and its known answer: with a profile that was taken, verify, run and bench pass."""
    asked = asked_sizes(open_bundle(flow_bundle))
    assert 40 in asked["H"]
    assert 56 in asked["W"]
    assert main(["build", str(flow_bundle), "--profile", "H=240:368:368"]) == 2
    said = capsys.readouterr().err
    assert f"leaves out what {flow_bundle} asks for by itself" in said
    assert f"give H={min(asked['H'])}:OPT:368" in said
    assert gpu.trt.builds == []
    ranges = [f"{name}={min(asked[name])}:{max(asked[name])}:{max(asked[name])}" for name in "HW"]
    assert main(["build", str(flow_bundle), "--profile", *ranges]) == 0
    on = ["--device", "tensorrt"]
    for command in (["verify"], ["run", "--sample", "--at", "3,4"], ["run", "--sample"], ["bench", "--runs", "2"]):
        assert main([command[0], str(flow_bundle), *on, *command[1:]]) == 0


@pytest.mark.parametrize("bundle", ["flow_bundle", "text_bundle", "multimodal_bundle", "image_bundle"])
def test_asked_sizes_are_those_that_graphs_get(bundle: str, request: pytest.FixtureRequest) -> None:
    """The same with ONNX Runtime as with zeros."""
    opened = open_bundle(request.getfixturevalue(bundle))
    seen: dict[str, set[int]] = {}
    with open_pipeline(opened, RuntimeOptions("cpu")) as pipeline:
        for graph in pipeline.graphs.values():
            plain = graph.run

            def run(inputs: Any, plain: Any = plain, graph: Any = graph) -> Any:
                for spec in graph.entry.inputs:
                    for symbol, size in zip(spec.shape, inputs[spec.name].shape):
                        if isinstance(symbol, str):
                            seen.setdefault(symbol, set()).add(size)
                return plain(inputs)

            graph.run = run  # type: ignore[method-assign]
            graph.run_on_device = run  # type: ignore[method-assign]
        sample = Sample.read(opened.read("sample.npz"))
        pipeline.known_answer(sample.inputs)
        task = check_task(opened, None)
        task.call(pipeline, task.kind(opened.manifest).from_sample(sample.inputs), 1)()
    assert seen == asked_sizes(opened)


def test_doctor_builds_nothing(image_bundle: Path, gpu: GPU, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(image_bundle), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["bundles"]
    assert found["devices"]["tensorrt"] == ""
    assert found["known_answer"] == f"not run: no engine of encode, decode is built yet: perceiver build {image_bundle}"
    assert gpu.trt.builds == []
    assert main(["build", str(image_bundle)]) == 0
    capsys.readouterr()
    assert main(["doctor", str(image_bundle), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["bundles"]
    assert (found["known_answer"], found["provider"]) == ("", "TensorRT 10.3.0")


def test_export_builds_only_when_asked(image_bundle: Path, gpu: GPU) -> None:
    assert "perceiver build" in build_engines(image_bundle, build=False)
    assert gpu.trt.builds == []
    assert "its engines for" in build_engines(image_bundle, build=True)
    assert len(gpu.trt.builds) == 2


def test_measurements_are_of_a_power_mode(image_bundle: Path, gpu: GPU, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = backend.Engines(open_bundle(image_bundle))
    usual = engines.cache.timing_cache(engines.machine)
    monkeypatch.setattr(cache, "power_mode", lambda: "NV Power Mode: 15W 2")
    assert engines.cache.timing_cache(engines.machine).path != usual.path


def test_auto_takes_tensorrt_for_its_bundles(
    image_bundle: Path, small_bundle: Path, gpu: GPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pr.load(image_bundle) as pipeline:
        assert pipeline.provider == "TensorRT 10.3.0"
    with pr.load(small_bundle) as pipeline:
        assert "TensorRT" not in pipeline.provider
    with pytest.raises(pr.UsageError, match=r"is for ONNX Runtime: export it again with --target tensorrt"):
        pr.load(small_bundle, device="tensorrt")

    def none() -> Any:
        raise pr.BackendError("CUDA finds no GPU")

    monkeypatch.setattr(backend, "cuda", none)
    message = "exported for TensorRT and runs on CPUExecutionProvider, slower. TensorRT cannot run here: CUDA finds no GPU"
    with pytest.warns(pr.ProviderFallbackWarning, match=message), pr.load(image_bundle) as pipeline:
        assert "TensorRT" not in pipeline.provider
    with pytest.raises(pr.BackendError, match=r"CUDA finds no GPU"):
        pr.load(image_bundle, device="tensorrt")
