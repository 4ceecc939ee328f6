"""What is recorded, replayed and moved, counted on stand-ins of libcudart and TensorRT, of a bundle of the first version."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from fake_engines import FLOW, GPU, NOTHING

import perceiver_runtime as pr
from perceiver_runtime.backends.tensorrt.memory import EngineArray, Pool
from perceiver_runtime.processing.chunks import equal_chunks

FRAMES = np.random.default_rng(0).integers(0, 255, (2, 40, 56, 3), np.uint8)
POINTS = np.array([[3, 4], [50, 2], [8, 39]])
IN, OUT, ON = 1, 2, 3  # cudaMemcpyKind: to the GPU, to the host, on the GPU
PAIR = 2 * 3 * 40 * 56 * 4  # bytes of what encode takes
LATENTS, FEATURES, ROW = 32 * 48 * 4, 2240 * 64 * 4, 64 * 4


@pytest.fixture
def gpu() -> GPU:
    return GPU()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 2240, 182528])
def test_chunks_are_of_one_size_and_hold_each_row_once(count: int) -> None:
    for most in (1, 2, 3, 50, 8192, 1 << 40):
        if count > 1000 * most:
            continue
        chunks = list(equal_chunks(count, most))
        assert len({stop - start for start, stop, _ in chunks}) == (1 if count else 0)
        assert all(start >= 0 and stop - start <= most for start, stop, _ in chunks)
        assert [row for _, stop, new in chunks for row in range(new, stop)] == list(range(count))
        assert len(chunks) == -(-count // most)
        assert sum(stop - start for start, stop, _ in chunks) - count < max(1, len(chunks))  # hardly anything twice


@pytest.mark.parametrize(("chunk", "chunks"), [(100, 23), (93, 25), (1119, 3), (2000, 2), (2240, 1)])
def test_one_recording_for_any_number_of_chunks(chunk: int, chunks: int, gpu: GPU) -> None:
    with pr.load(FLOW, device="cpu") as flow:
        expected = flow(*FRAMES)
    with gpu.flow() as flow:
        for _ in range(3):
            np.testing.assert_allclose(flow(*FRAMES, query_chunk=chunk), expected, rtol=1e-4, atol=1e-5)
        calls = gpu.device.calls
        assert gpu.device.held["graphs"] == calls.count("cudaStreamBeginCapture") == 2  # one of encode, one of decode
        assert calls.count("execute_async_v3") == 2 + 2  # each directly once, and once to be recorded
        assert calls.count("cudaGraphLaunch") == 3 + 3 * chunks - 2
    assert gpu.device.held == NOTHING


def test_one_recording_for_all_tiles(gpu: GPU) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (2, 101, 167, 3), np.uint8)
    with pr.load(FLOW, device="cpu") as flow:
        expected = flow(*frames)
        assert len(flow._tiles(frames[0])) > 10
    with gpu.flow() as flow:
        np.testing.assert_allclose(flow(*frames, query_chunk=600), expected, rtol=1e-4, atol=1e-5)
    assert gpu.device.calls.count("cudaStreamBeginCapture") == 2


def test_bytes_copied_for_a_field(gpu: GPU) -> None:
    """Every feature goes once to where it is kept and once to decode, latents once; positions and motion by 23 chunks of 98."""
    with gpu.flow() as flow:
        for _ in range(3):
            gpu.device.copied.clear()
            flow(*FRAMES, query_chunk=100)
            rows = 23 * 98
            assert gpu.device.copied == {
                IN: PAIR + rows * 2 * 4,
                OUT: rows * 2 * 4,
                ON: LATENTS + FEATURES + LATENTS + rows * ROW,
            }


def test_bytes_copied_for_three_points(gpu: GPU) -> None:
    """No features go to the host, nor to decode any but those of the points."""
    with pr.load(FLOW, device="cpu") as flow:
        expected = flow.at(*FRAMES, POINTS)
    with gpu.flow() as flow:
        for _ in range(3):
            gpu.device.copied.clear()
            found = flow.at(*FRAMES, POINTS)
            assert gpu.device.copied == {IN: PAIR + 3 * 2 * 4, OUT: 3 * 2 * 4, ON: LATENTS + FEATURES + LATENTS + 3 * ROW}
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(flow.at(*FRAMES, POINTS[::-1]) - expected).max() > 1e-3  # each point has its own row
    assert gpu.device.calls.count("cudaStreamBeginCapture") == 2


def test_consecutive_points_are_one_copy(gpu: GPU) -> None:
    points = np.array([[x, y] for y in (3, 9) for x in range(10, 30)])
    with gpu.flow() as flow:
        flow.at(*FRAMES, points)
        gpu.device.calls.clear()
        flow.at(*FRAMES, points)
    copies = gpu.device.calls.count("cudaMemcpyAsync")
    assert copies == 1 + 2 + 1 + 2 + 1 + 1  # frames, kept outputs, latents, two rows of pixels, positions, motion


def test_thousands_of_scattered_points_go_by_the_host(gpu: GPU) -> None:
    points = np.array([[x, y] for y in range(40) for x in range(0, 56, 2)])
    with pr.load(FLOW, device="cpu") as flow:
        expected = flow.at(*FRAMES, points)
    with gpu.flow() as flow:
        gpu.device.calls.clear()
        np.testing.assert_allclose(flow.at(*FRAMES, points), expected, rtol=1e-4, atol=1e-5)
        assert gpu.device.copied[OUT] == FEATURES + len(points) * 2 * 4
        assert gpu.device.calls.count("cudaMemcpyAsync") < 10


def test_rows_that_are_not_there(gpu: GPU) -> None:
    array = EngineArray(Pool(gpu.cuda).take(80), (1, 10, 2), np.dtype(np.float32))
    for rows in ([0, 10], [3, -1]):
        with pytest.raises(ValueError, match=r"of an array of shape \(1, 10, 2\)"):
            array.gather(np.array(rows))
    with pytest.raises(ValueError, match=r"of an array of shape"):
        array.rows(5, 11)


def test_another_shape_is_recorded_in_place_of_the_last(gpu: GPU) -> None:
    with gpu.flow() as flow:
        for chunk in (100, 200, 100, 700):
            flow(*FRAMES, query_chunk=chunk)
            assert gpu.device.held["graphs"] <= 2
        assert gpu.device.held["contexts"] == 2
    assert gpu.device.held == NOTHING


def test_what_was_used_least_recently_is_recorded_anew(gpu: GPU) -> None:
    """Two contexts, two shapes: both are replayed. A third shape takes the place of the one that was idle longest."""
    together = Barrier(2, timeout=60)
    meet = itertools.chain([True] * 2, itertools.repeat(False))

    def on_call(name: str) -> None:
        if name == "cudaStreamSynchronize" and next(meet):
            together.wait()

    with gpu.flow() as flow, ThreadPoolExecutor(2) as threads:
        kept = [*flow._run_encode(*(flow.prepare(frame).pixels for frame in FRAMES))]

        def decode(count: int) -> None:
            pixels = np.stack([np.zeros(count, np.int64), np.arange(count)], axis=1)
            flow._decode_pixels(kept[0], kept[1], (40, 56), pixels, None)

        gpu.device.on_call = on_call
        list(threads.map(decode, [5, 9]))  # at the same time: two contexts
        calls = gpu.device.calls
        for count in (5, 9):
            decode(count)
        calls.clear()
        for count in (5, 9, 5, 9, 9, 5):
            decode(count)
        assert (calls.count("cudaGraphLaunch"), calls.count("execute_async_v3")) == (6, 0)
        for count in (7, 7, 7):  # in the place of 9
            decode(count)
        calls.clear()
        for count in (5, 7, 5, 7):
            decode(count)
        assert (calls.count("cudaGraphLaunch"), calls.count("execute_async_v3")) == (4, 0)
        decode(9)
        assert calls.count("execute_async_v3") == 1
        assert gpu.device.held["graphs"] == 1
        kept.clear()
    assert gpu.device.held == NOTHING


def test_the_stand_in_refuses_what_the_documents_forbid(gpu: GPU) -> None:
    """Negative controls: a launch after its context was changed, and a launch without waiting for it."""
    with gpu.flow() as flow:
        for _ in range(2):
            flow(*FRAMES)
        (runner,) = flow.graphs["decode"]._runner._idle  # type: ignore[attr-defined]
        runner._context.set_tensor_address("flow", runner._buffers["flow"].address)
        with pytest.raises(AssertionError, match=r"the context was changed since this was recorded"):
            flow(*FRAMES)
