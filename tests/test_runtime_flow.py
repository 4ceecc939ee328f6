"""The flow pipeline: against transformers, tiled, at points, in chunks, in threads, and with bad input."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import HuggingFace
from published import PIXELS_PER_UNIT, model_frames, real_frames, spread, transformers_flow

import perceiver_runtime as pr
from perceiver_runtime.backends import onnxruntime as onnx_backend
from perceiver_runtime.processing.flow import FlowProcessor, linear_positions
from perceiver_runtime.processing.tiling import blend_weights, tile_grid
from perceiver_runtime.tasks.flow.pipeline import FlowPipeline

TILE = (40, 56)


@pytest.fixture(scope="module")
def flow(tiny_bundle: Path) -> Iterator[FlowPipeline]:
    with pr.load(tiny_bundle, device="cpu") as pipeline:
        yield pipeline


def tiled_transformers(checkpoint: HuggingFace, frame1: np.ndarray, frame2: np.ndarray) -> np.ndarray:
    """transformers on each tile of `tile_grid`, blended by distance to the tile's edge, in pixels."""
    tile = checkpoint.model.config.train_size
    total, weight_sum = np.zeros((*frame1.shape[:2], 2)), np.zeros(frame1.shape[:2])
    weights = blend_weights(*tile)
    overlap = min(20, min(tile) // 3)
    for top, left in tile_grid(*frame1.shape[:2], tuple(tile), min_overlap=overlap):
        window = np.s_[top : top + tile[0], left : left + tile[1]]
        answer = transformers_flow(checkpoint.model, model_frames(frame1[window], frame2[window]))[0]
        total[window] += answer * PIXELS_PER_UNIT * weights[..., None]
        weight_sum[window] += weights
    result: np.ndarray = total / weight_sum[..., None]
    return result


def check_against(expected: np.ndarray, found: np.ndarray, unlike: np.ndarray) -> None:
    """Within 1 % of the field's own spread and 1e-3 px; the control is far outside."""
    tolerance = min(0.01 * spread(expected), 1e-3)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= tolerance
    assert np.abs(unlike - expected).max() > 10 * tolerance


def test_one_tile(flow: FlowPipeline, tiny: HuggingFace) -> None:
    frame1, frame2 = real_frames(*TILE)
    check_against(tiled_transformers(tiny, frame1, frame2), flow(frame1, frame2), flow(frame2, frame1))


@pytest.mark.parametrize("size", [(40, 57), (75, 56), (101, 167)])
def test_larger_images_are_tiled(flow: FlowPipeline, tiny: HuggingFace, size: tuple[int, int]) -> None:
    frame1, frame2 = real_frames(*size)
    seen: list[tuple[int, int]] = []
    found = flow(frame1, frame2, progress=lambda done, total: seen.append((done, total)))
    check_against(tiled_transformers(tiny, frame1, frame2), found, flow(frame2, frame1))
    assert seen == [(i, len(seen) - 1) for i in range(len(seen))]
    assert len(seen) > 2


@pytest.mark.parametrize("size", [(40, 20), (13, 56), (1, 1)])
def test_smaller_images_are_padded(flow: FlowPipeline, tiny: HuggingFace, size: tuple[int, int]) -> None:
    frame1, frame2 = real_frames(*size)
    padding = ((0, 40 - size[0]), (0, 56 - size[1]), (0, 0))
    padded = tiled_transformers(tiny, *(np.pad(frame, padding, mode="edge") for frame in (frame1, frame2)))
    found = flow(frame1, frame2)
    assert found.shape == (*size, 2)
    assert np.abs(found - padded[: size[0], : size[1]]).max() <= 0.01 * spread(padded)


def test_points_equal_the_dense_field_and_decode_nothing_else(flow: FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    frame1, frame2 = real_frames(101, 167)
    dense = flow(frame1, frame2)
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(0, 166, 200), random.uniform(0, 100, 200)], axis=-1)
    decoded: list[int] = []
    run = flow.graphs["decode"].run

    def counting(inputs: dict[str, Any]) -> Any:
        decoded.append(inputs["query_positions"].shape[1])
        return run(inputs)

    monkeypatch.setattr(flow.graphs["decode"], "run", counting)
    found = flow.at(frame1, frame2, points)
    x, y = np.rint(points).astype(int).T
    assert np.abs(found - dense[y, x]).max() <= 1e-4
    assert np.abs(found - dense[y, (x + 20) % 167]).max() > 1e-3
    in_tiles = sum(((x >= left) & (x < left + 56) & (y >= top) & (y < top + 40)).sum() for top, left in flow._tiles(frame1))
    assert sum(decoded) == in_tiles < 3 * len(points)


def test_points_encode_only_their_tiles(flow: FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    frame1, frame2 = real_frames(101, 167)
    encoded: list[int] = []
    run = flow.graphs["encode"].run
    monkeypatch.setattr(flow.graphs["encode"], "run", lambda inputs: encoded.append(1) or run(inputs))
    flow.at(frame1, frame2, np.array([[2, 3], [5, 1]]))
    assert len(encoded) == 1


def test_no_points(flow: FlowPipeline) -> None:
    assert flow.at(*real_frames(*TILE), np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("chunk", [1000, 997, 2240])
def test_chunking_is_invisible(flow: FlowPipeline, chunk: int) -> None:
    frame1, frame2 = real_frames(*TILE)
    assert np.abs(flow(frame1, frame2, query_chunk=chunk) - flow(frame1, frame2)).max() <= 1e-6


def test_grey_float_and_uint8_agree(flow: FlowPipeline) -> None:
    frame1, frame2 = real_frames(*TILE)
    expected = flow(frame1, frame2)
    assert np.abs(flow(frame1 / 255, frame2 / np.float32(255)) - expected).max() <= 1e-4
    grey1, grey2 = frame1[..., 1], frame2[..., 1]
    expected = flow(np.repeat(grey1[..., None], 3, axis=2), np.repeat(grey2[..., None], 3, axis=2))
    assert np.array_equal(flow(grey1, grey2), expected)
    assert np.array_equal(flow(grey1[..., None], grey2), expected)


def test_threads_share_a_pipeline(flow: FlowPipeline) -> None:
    pairs = [real_frames(*TILE, top=top) for top in range(0, 80, 10)]
    alone = [flow(*pair) for pair in pairs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda pair: flow(*pair), pairs * 3))
    assert all(np.array_equal(found, expected) for found, expected in zip(together, alone * 3))
    assert not np.array_equal(alone[0], alone[1])


GOOD = np.zeros((8, 9, 3), np.uint8)
OTHER = np.random.default_rng(1).integers(0, 255, (8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("frame1", "frame2", "message"),
    [
        ("a.png", GOOD, "frame1 is a str, expected a numpy array"),
        (GOOD, GOOD[:5], "the frames differ in size: 9x8 and 9x5; resize one"),
        (np.zeros((8, 9, 4), np.uint8), GOOD, r"frame1 has shape \(8, 9, 4\), expected \(H, W, 3\)"),
        (np.zeros((0, 9, 3), np.uint8), GOOD, "frame1 has shape"),
        (GOOD, GOOD.astype(np.int32), "frame2 is int32, expected uint8, or float"),
        (GOOD, GOOD + 2.0, r"frame2 is float64 with values outside \[0, 1\] or not finite: divide by 255"),
        (GOOD, GOOD - 0.1, "frame2 is float64 with values outside"),
        (GOOD * np.nan, GOOD, "frame1 is float64 with values outside"),
    ],
)
def test_bad_frames(flow: FlowPipeline, frame1: Any, frame2: Any, message: str) -> None:
    with pytest.raises(pr.InputError, match=message):
        flow(frame1, frame2)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((3, 3)), r"points have shape \(3, 3\)"),
        (np.array([["a", "b"]]), "expected numbers"),
        (np.zeros((3, 2, 2)), r"points have shape \(3, 2, 2\)"),
        (np.zeros((3, 2), np.complex64), "expected numbers"),
    ],
)
def test_bad_points(flow: FlowPipeline, points: Any, message: str) -> None:
    with pytest.raises(pr.InputError, match=message):
        flow.at(GOOD, GOOD, points)


def test_bad_chunk(flow: FlowPipeline) -> None:
    with pytest.raises(pr.InputError, match=r"query_chunk is 0: give a whole number of at least 1"):
        flow(GOOD, GOOD, query_chunk=0)


def test_tasks_and_devices(tiny_bundle: Path) -> None:
    with pytest.raises(pr.UsageError, match=r"unknown task 'flwo'; did you mean 'flow'"):
        pr.load(tiny_bundle, task="flwo")
    with pytest.raises(pr.UsageError, match=r"unknown device 'gpu'; available: auto, cpu, cuda, tensorrt"):
        pr.load(tiny_bundle, device="gpu")
    with pytest.raises(pr.UsageError, match=r"is for ONNX Runtime: export it again with --target tensorrt"):
        pr.load(tiny_bundle, device="tensorrt")


def test_cuda_missing_is_said(tiny_bundle: Path) -> None:
    if "CUDAExecutionProvider" in onnx_backend.onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    needed = r"device 'cuda' needs ONNX Runtime's CUDAExecutionProvider, .* 'onnxruntime-gpu\[cuda,cudnn\]'"
    with pytest.raises(pr.BackendError, match=needed):
        pr.load(tiny_bundle, device="cuda")


def test_falling_back_is_said(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens where ONNX Runtime lists CUDA but its libraries do not load: the session comes up on the CPU."""
    both = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(onnx_backend, "choose_providers", lambda device: both[1:] if device == "cpu" else both)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pr.load(tiny_bundle).close()
    said = [str(warning.message) for warning in caught if warning.category is pr.ProviderFallbackWarning]
    assert [message.split(":")[0] for message in said] == ["encode.onnx runs on CPUExecutionProvider"]  # once is enough
    assert "could not start CUDAExecutionProvider" in said[0]
    monkeypatch.setattr(warnings, "warn", lambda *_, **__: None)  # ONNX Runtime's own
    with pytest.raises(pr.BackendError, match=r"Use device='cpu', or 'auto'"):
        pr.load(tiny_bundle, device="cuda")


def test_features_stay_where_they_are(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, with the host's memory in its place: encode's outputs are bound to decode's inputs, at an offset too."""
    points = np.array([[3, 4], [8, 2], [1, 7]])
    with pr.load(tiny_bundle, device="cpu") as flow:
        dense, tracks = flow(GOOD, OTHER, query_chunk=700), flow.at(GOOD, OTHER, points)
        for graph in flow.graphs.values():
            monkeypatch.setattr(graph, "_bound", True)
        kept = flow.graphs["encode"].run_on_device({"frames": np.zeros((1, 2, 3, 40, 56), np.float32)})
        assert [type(each) for each in kept] == [onnx_backend.OrtArray] * 2
        np.testing.assert_array_equal(flow(GOOD, OTHER, query_chunk=700), dense)
        np.testing.assert_array_equal(flow.at(GOOD, OTHER, points), tracks)
    assert np.ptp(dense) > 0


def test_missing_onnxruntime_is_said(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(pr.BackendError, match=r"ONNX Runtime cannot be imported .* pip install onnxruntime"):
        pr.load(tiny_bundle)


def test_not_finite_answers_are_refused(flow: FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def run(self, names: object, inputs: dict[str, Any], how: object) -> list[np.ndarray]:
            return [np.full((1, inputs["query_positions"].shape[1], 2), np.nan, np.float32)]

    monkeypatch.setattr(flow.graphs["decode"], "_session", Broken())
    with pytest.raises(pr.BackendError, match=r"decode.onnx gave NaN or infinity in its output flow"):
        flow(GOOD, GOOD)


def test_closed_pipelines_say_so(tiny_bundle: Path) -> None:
    with pr.load(tiny_bundle, device="cpu") as pipeline:
        pass
    with pytest.raises(pr.BackendError, match=r"this pipeline was closed: load the bundle again"):
        pipeline(GOOD, GOOD)


@pytest.mark.parametrize(
    "change",
    [
        {"tile": [0, 56]},
        {"tile": [10**9, 56]},
        {"tile": [40]},
        {"tile": [40.5, 56.0]},
        {"tile": ["40", "56"]},
        {"min_overlap": 40},
        {"min_overlap": True},
        {"query_chunk": 0},
        {"query_chunk": 1 << 40},
        {"flow_scale": float("inf")},
        {"flow_scale": float("nan")},
        {"flow_scale": "much"},
    ],
)
def test_processor_constants_are_bounded(change: dict[str, Any]) -> None:
    (name,) = change
    good = {"tile": [40, 56], "min_overlap": 13, "flow_scale": 20.0, "query_chunk": 100}
    assert FlowProcessor.from_json(good).tile == (40, 56)
    with pytest.raises(pr.IntegrityError, match=rf"manifest\.processor.*\b{name}\b"):
        FlowProcessor.from_json({**good, **change})


@pytest.mark.parametrize("steps", [2, 5, 56, 61, 368, 496, 4096])
def test_positions_round_as_torch(steps: int) -> None:
    assert np.array_equal(linear_positions(steps), torch.linspace(-1, 1, steps).numpy())


def test_too_few_query_features_are_refused(flow: FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    run = flow.graphs["encode"].run
    monkeypatch.setattr(flow.graphs["encode"], "run", lambda inputs: [output[:, :7] for output in run(inputs)])
    with pytest.raises(pr.BackendError, match=r"encode gave an output of shape \(1, 7, 64\), expected \(1, 2240, None\)"):
        flow(GOOD, GOOD)
