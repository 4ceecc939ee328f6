"""What engines hold on a GPU goes with their pipeline, closed or dropped, and with the threads that ran them: on stand-ins."""

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fake_engines import FLOW, GPU, NOTHING

import perceiver_runtime as pr
from perceiver_runtime.backends.tensorrt.backend import TensorRTGraph
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, build, spans
from perceiver_runtime.backends.tensorrt.memory import Pool
from perceiver_runtime.backends.tensorrt.releases import hand_over
from perceiver_runtime.backends.tensorrt.runner import MOST_CONTEXTS
from perceiver_runtime.bundle.reader import open_bundle, own_graph
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline

FRAMES = np.random.default_rng(0).integers(0, 255, (2, 40, 56, 3), np.uint8)
POINTS = np.array([[3, 4], [50, 2], [8, 39]])
SECONDS = 120


@pytest.fixture
def gpu() -> GPU:
    return GPU()


@pytest.fixture
def collected_at_every_allocation() -> Iterator[None]:
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what other tests left is not looked at each time
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Cycle:
    """What only a garbage collection lets go of."""

    def __init__(self, what: Any) -> None:
        self.what, self.me = what, self


def used(flow: FlowPipeline) -> FlowPipeline:
    """With something recorded."""
    for _ in range(3):
        flow.at(*FRAMES, POINTS)
    return flow


def test_dropped_without_close(gpu: GPU) -> None:
    flow = used(gpu.flow())
    assert gpu.device.held == {"blocks": 9, "pinned": 3, "streams": 2, "graphs": 2, "contexts": 2}
    del flow
    assert gpu.device.held == NOTHING


def test_dropped_in_a_cycle(gpu: GPU) -> None:
    Cycle(used(gpu.flow()))
    gc.collect()
    assert gpu.device.held == NOTHING


def test_dropped_with_its_thread(gpu: GPU) -> None:
    own = threading.local()

    def work() -> None:
        own.flow = used(gpu.flow())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SECONDS)
    assert gpu.device.held == NOTHING


def test_closed_twice_then_dropped(gpu: GPU) -> None:
    flow = used(gpu.flow())
    for _ in range(2):
        flow.close()
        assert gpu.device.held == NOTHING
    with pytest.raises(pr.BackendError, match=r"this pipeline was closed"):
        flow.at(*FRAMES, POINTS)
    del flow
    assert gpu.device.held == NOTHING


def test_latents_outlive_their_pipeline(gpu: GPU) -> None:
    flow = used(gpu.flow())
    latents, features = flow._run_encode(*(flow.prepare(frame).pixels for frame in FRAMES))
    del flow
    assert gpu.device.held == NOTHING | {"blocks": 2}
    assert np.isfinite(np.asarray(latents.numpy())).all()  # type: ignore[union-attr]
    del latents, features
    assert gpu.device.held == NOTHING


class Crowd:
    """Threads that are seen waiting for the GPU: `most` at once, which is waited for."""

    def __init__(self, gpu: GPU, wanted: int) -> None:
        self.most, self._now, self._wanted = 0, 0, wanted
        self._changed = threading.Condition()
        gpu.device.on_call = self._on_call

    def _on_call(self, name: str) -> None:
        if name != "cudaStreamSynchronize":
            return
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= self._wanted, SECONDS)
        time.sleep(0.01)  # others come in meanwhile, if they may
        with self._changed:
            self._now -= 1


def decode_at_once(gpu: GPU, flow: FlowPipeline, threads: ThreadPoolExecutor, wanted: int) -> int:
    """Twelve decodes; how many ran at once, `wanted` at least."""
    latents, features = flow._run_encode(*(flow.prepare(frame).pixels for frame in FRAMES))
    pixels, size = np.array([[3, 4], [8, 9]]), (40, 56)
    expected = flow._decode_pixels(latents, features, size, pixels, None)
    crowd = Crowd(gpu, wanted)
    done = [threads.submit(flow._decode_pixels, latents, features, size, pixels, None) for _ in range(12)]
    for each in done:
        np.testing.assert_array_equal(each.result(SECONDS), expected)
    gpu.device.on_call = lambda name: None
    return crowd.most


def test_twelve_threads_share_some_contexts_and_leave_one(gpu: GPU) -> None:
    flow = gpu.flow()
    with ThreadPoolExecutor(12) as threads:
        assert decode_at_once(gpu, flow, threads, MOST_CONTEXTS) == MOST_CONTEXTS
        assert gpu.device.held["contexts"] == 1 + MOST_CONTEXTS
    deadline = time.monotonic() + SECONDS
    while gpu.device.held["contexts"] > 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread that was joined may have its destructors to run
    assert gpu.device.held["contexts"] == gpu.device.held["streams"] == 2  # this thread's
    used(flow)
    del flow
    assert gpu.device.held == NOTHING


def test_a_thread_waits_where_the_gpu_has_no_room_for_another_context(gpu: GPU) -> None:
    gpu.trt.most_contexts = 3  # one of encode, two of decode
    with gpu.flow() as flow, ThreadPoolExecutor(12) as threads:
        assert decode_at_once(gpu, flow, threads, 2) == 2
    assert gpu.device.held == NOTHING
    gpu.trt.most_contexts = 0
    with gpu.flow() as flow, pytest.raises(pr.BackendError, match=r"no room on the GPU for what is computed on the way"):
        flow(*FRAMES)


def test_waiting_threads_hear_of_a_close(gpu: GPU) -> None:
    flow = gpu.flow()
    latents, features = flow._run_encode(*(flow.prepare(frame).pixels for frame in FRAMES))
    inside, go_on = threading.Semaphore(0), threading.Event()

    def on_call(name: str) -> None:
        if name == "cudaStreamSynchronize":
            inside.release()
            assert go_on.wait(SECONDS)

    gpu.device.on_call = on_call
    with ThreadPoolExecutor(MOST_CONTEXTS + 1) as threads:
        arguments = (latents, features, (40, 56), np.array([[1, 2]]), None)
        done = [threads.submit(flow._decode_pixels, *arguments) for _ in range(MOST_CONTEXTS + 1)]
        for _ in range(MOST_CONTEXTS):
            assert inside.acquire(timeout=SECONDS)
        flow.graphs["decode"].close()
        go_on.set()
        errors = [each.exception(SECONDS) for each in done]
    assert sum(error is None for error in errors) == MOST_CONTEXTS  # those that ran went on
    (error,) = filter(None, errors)
    assert isinstance(error, pr.BackendError)
    assert "this pipeline was closed" in str(error)
    gpu.device.on_call = lambda name: None
    flow.close()
    del latents, features, arguments, done, errors, error
    assert gpu.device.held == NOTHING


@pytest.mark.parametrize("function", ["create_execution_context", "infer_shapes", "execute_async_v3"])
@pytest.mark.parametrize("runs", [0, 1])  # the second run records
def test_what_tensorrt_raises_is_a_backend_error(function: str, runs: int, gpu: GPU) -> None:
    flow = gpu.flow()
    for _ in range(runs):
        flow.at(*FRAMES, POINTS)
    if runs and function != "execute_async_v3":
        flow.close()
        flow = gpu.flow()
    gpu.trt.raising = function
    with pytest.raises(pr.BackendError, match=r"encode.*: TensorRT raised RuntimeError, CUDA error: unspec") as caught:
        flow.at(*FRAMES, POINTS)
    assert isinstance(caught.value.__cause__, RuntimeError)
    gpu.trt.raising = ""
    assert not gpu.device.capturing
    assert np.isfinite(flow.at(*FRAMES, POINTS)).all()
    del caught
    flow.close()
    assert gpu.device.held == NOTHING


def test_what_tensorrt_raises_while_loading_and_building(gpu: GPU) -> None:
    bundle = open_bundle(FLOW)
    gpu.trt.raising = "deserialize_cuda_engine"
    with pytest.raises(pr.BackendError, match=r"decode: the engine cannot be loaded: TensorRT raised RuntimeError"):
        gpu.engine(bundle, "decode", Pool(gpu.cuda))
    gpu.trt.raising = "build_serialized_network"
    manifest = bundle.manifest
    entry = manifest.graphs["decode"]
    arguments = (*own_graph(FLOW / entry.file), entry, spans(manifest.ranges), BuildOptions(), lambda phase: None)
    with pytest.raises(pr.BackendError, match=r"TensorRT 10.3.0 cannot build decode.onnx: TensorRT raised RuntimeError"):
        build(gpu.trt, *arguments)


def test_a_collection_while_recording_spoils_nothing(gpu: GPU) -> None:
    """A pipeline that is dropped then is released afterwards: the stand-in refuses to free in a thread that records."""
    flow = gpu.flow()
    flow.at(*FRAMES, POINTS)
    held = gpu.device.held

    def on_call(name: str) -> None:
        if name == "execute_async_v3" and gpu.device.recording:
            gc.collect()

    gc.disable()
    try:
        Cycle(used(gpu.flow()))
        assert gpu.device.held["streams"] == 4
        gpu.device.on_call = on_call
        flow.at(*FRAMES, POINTS)
    finally:
        gc.enable()
    assert gpu.device.capturable
    assert gpu.device.held == held | {"graphs": 2}
    flow.close()
    assert gpu.device.held == NOTHING


def test_a_recording_that_cannot_be_instantiated_is_destroyed(gpu: GPU) -> None:
    gpu.device.instantiable = False
    with gpu.flow() as flow:
        answers = [flow.at(*FRAMES, POINTS) for _ in range(4)]
        assert gpu.device.held["graphs"] == 0
    assert gpu.device.calls.count("cudaStreamBeginCapture") == 2  # one attempt for each graph
    assert all(np.array_equal(answer, answers[0]) for answer in answers)
    assert gpu.device.held == NOTHING


def test_a_collection_while_an_engine_is_locked(gpu: GPU) -> None:
    """What is dropped then, and threads that end then, wait until the lock is free."""
    engine = gpu.engine(open_bundle(FLOW), "decode", Pool(gpu.cuda))
    done = threading.Event()

    def work() -> None:
        with engine._locked():
            engine.thread_ended()
            hand_over(engine.close)  # as a destructor does
            assert engine._engine is not None
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20)
    assert engine._engine is None


def test_what_cannot_be_released_is_said_and_keeps_nothing_else(gpu: GPU, caplog: pytest.LogCaptureFixture) -> None:
    flow = used(gpu.flow())
    failing = [True]
    free = gpu.cuda.free

    def fail_once(address: int) -> None:
        if failing:
            failing.clear()
            raise pr.BackendError("cudaFree failed: cudaErrorIllegalAddress")
        free(address)

    gpu.cuda.free = fail_once  # type: ignore[method-assign]
    del flow
    assert gpu.device.held == NOTHING | {"blocks": 1}
    assert "some of the GPU's memory could not be released: cudaFree failed: cudaErrorIllegalAddress" in caplog.text


@pytest.mark.usefixtures("collected_at_every_allocation")
def test_sixteen_threads_and_a_collection_at_every_allocation(gpu: GPU) -> None:
    """They share a pipeline, and drop their own, which only collections find, in the midst of each other's runs."""
    bundle, pixels = open_bundle(FLOW), np.array([[3, 4], [8, 9], [10, 30]])
    entry = bundle.manifest.graphs["decode"]
    rng = np.random.default_rng(0)
    inputs = {"latents": rng.random((1, 32, 48), np.float32), "query_positions": rng.random((1, 3, 2), np.float32)}
    inputs["query_features"] = rng.random((1, 3, 64), np.float32)
    assert set(inputs) == {spec.name for spec in entry.inputs}
    assert len(pixels) == 3
    graph = TensorRTGraph(gpu.engine(bundle, "decode", Pool(gpu.cuda)), "stand-in")
    expected = graph.run(inputs)[0]

    def work(number: int) -> None:
        own = TensorRTGraph(gpu.engine(bundle, "decode", Pool(gpu.cuda)), "stand-in")
        for turn in range(6):
            if turn % 3 == number % 3:
                np.testing.assert_array_equal(own.run(inputs)[0], expected)
            np.testing.assert_array_equal(graph.run(inputs)[0], expected)
            Cycle(graph.run_on_device(inputs))
        Cycle(own)

    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(work, number) for number in range(32)]:
            done.result(SECONDS)
    assert gpu.device.held["contexts"] <= 1 + MOST_CONTEXTS + 32
    graph.close()
    gc.collect()
    assert gpu.device.held == NOTHING
