"""Flow beyond one call: pairs encoded once, points anywhere, streams, tracks, frames made smaller."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published import real_frames
from scipy.ndimage import map_coordinates
from videos import BACKGROUND, CAT, encode, photographs

import perceiver_runtime as pr
from perceiver_runtime.common.newest import Newest
from perceiver_runtime.tasks.flow import pair as pair_module
from perceiver_runtime.tasks.flow.pair import EncodedPair

FRAMES = real_frames(60, 90)


@pytest.fixture(scope="module")
def flow(tiny_bundle: Path) -> Iterator[pr.FlowPipeline]:
    with pr.load(tiny_bundle, task="flow", device="cpu") as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def trained(small_bundle: Path) -> Iterator[pr.FlowPipeline]:
    with pr.load(small_bundle, task="flow", device="cpu") as pipeline:
        yield pipeline


@pytest.fixture
def runs(flow: pr.FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each graph ran."""
    counted: Counter[str] = Counter()
    for name, graph in flow.graphs.items():
        monkeypatch.setattr(graph, "run", lambda inputs, name=name, run=graph.run: counted.update([name]) or run(inputs))
    return counted


def test_a_pair_is_encoded_once(flow: pr.FlowPipeline, runs: Counter[str]) -> None:
    points = np.array([[3, 4], [9, 2], [7.4, 6.6]])
    field, motion = flow(*FRAMES), flow.at(*FRAMES, points)
    runs.clear()
    pair = flow.encode(*FRAMES)
    assert runs == {}
    assert np.array_equal(pair.at(points), motion)
    of_points = runs["encode"]
    assert np.array_equal(pair.field(), field)
    tiles = len(flow._tiles(FRAMES[0]))
    assert 0 < of_points < runs["encode"] == tiles
    done = dict(runs)
    assert np.array_equal(pair.field(), field)
    assert np.array_equal(pair.at(points), field[[4, 2, 7], [3, 9, 7]])
    assert runs == done  # from the field
    pair.field()[:] = 0  # a copy
    assert np.array_equal(pair.field(), field)


def test_what_has_no_room_is_encoded_again(flow: pr.FlowPipeline, runs: Counter[str]) -> None:
    first, second = (flow.prepare(frame) for frame in FRAMES)
    pair = EncodedPair(flow, first, second, 0)
    assert np.array_equal(pair.field(), pair.field())
    assert runs["encode"] == 2 * len(flow._tiles(FRAMES[0]))
    for wrong in ("lots", 5, -1):
        with pytest.raises(pr.UsageError, match="keep is"):
            flow.encode(*FRAMES, keep=wrong)


def test_points_of_opencv_and_outside(flow: pr.FlowPipeline) -> None:
    points = np.array([[3, 4], [-0.4, 59.4], [89.6, 2], [-0.6, 2], [5, -9], [np.nan, 3], [np.inf, 3]], np.float32)
    motion, inside = flow.at(*FRAMES, points, mask=True)
    assert inside.tolist() == [True, True, False, False, False, False, False]
    assert np.isfinite(motion).all(axis=1).tolist() == inside.tolist()
    assert np.array_equal(motion[:2], flow.at(*FRAMES, np.array([[3, 4], [0, 59]])))
    as_opencv, mask = flow.at(*FRAMES, points[:, None], mask=True)
    assert (as_opencv.shape, mask.shape) == ((7, 1, 2), (7, 1))
    np.testing.assert_array_equal(as_opencv[:, 0], motion)
    assert flow.at(*FRAMES, np.zeros((0, 1, 2))).shape == (0, 1, 2)
    assert np.isnan(flow.at(*FRAMES, np.array([[900, 900]]))).all()


def test_interpolated_points_are_scipy_s(flow: pr.FlowPipeline) -> None:
    points = np.random.default_rng(0).uniform((-0.49, -0.49), (89.49, 59.49), (200, 2))
    field = flow(*FRAMES)
    expected = np.stack([map_coordinates(field[..., c], points.T[::-1], order=1, mode="nearest") for c in (0, 1)], axis=-1)
    for found in (flow.at(*FRAMES, points, interpolate=True), flow.encode(*FRAMES).at(points, interpolate=True)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert np.abs(flow.at(*FRAMES, points) - expected).max() > 5e-4


@pytest.mark.parametrize(("scale", "size"), [(0.5, (30, 45)), ("tile", (37, 56)), (1.0, (60, 90))])
def test_smaller_frames_give_full_fields(flow: pr.FlowPipeline, scale: Any, size: tuple[int, int]) -> None:
    """Pillow's pictures made smaller, and their field made larger, in full-size pixels."""

    def resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
        picture = Image.fromarray(plane.astype(np.float32))
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))

    small = [np.dstack([resized(frame[..., c] / 255, *size) for c in range(3)]).clip(0, 1) for frame in FRAMES]
    field = flow(*small)
    expected = np.dstack([resized(field[..., 0], 60, 90) * 90 / size[1], resized(field[..., 1], 60, 90) * 60 / size[0]])
    found = flow(*FRAMES, scale=scale)
    assert found.shape == (60, 90, 2)
    assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max()
    if scale != 1.0:
        assert np.abs(flow(*FRAMES) - expected).max() > 0.05 * np.abs(expected).max()
        points = np.array([[33, 44], [2.2, 3.4]])
        assert np.array_equal(flow.encode(*FRAMES, scale=scale).at(points), found[[44, 3], [33, 2]])
    for wrong in (0, 1.5, True, "half", float("nan")):
        with pytest.raises(pr.InputError, match=r"scale is .*give a share of the frames' size, more than 0 and at most 1"):
            flow(*FRAMES, scale=wrong)  # type: ignore[arg-type]


def test_a_stream_is_calls(flow: pr.FlowPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [real_frames(40, 56, left=100 + shift)[0] for shift in range(4)]
    expected = [flow(*pair) for pair in pairwise(frames)]
    prepared: list[str] = []
    usual = pair_module.model_input
    monkeypatch.setattr(pair_module, "model_input", lambda image, name: prepared.append(name) or usual(image, name))
    with flow.stream(iter(frames)) as stream:
        found = list(stream)
    assert all(np.array_equal(own, other) for own, other in zip(found, expected))
    assert (len(found), stream.read, stream.dropped, stream.fields) == (3, 4, 0, 3)
    assert stream.between[0] is frames[2]
    assert prepared == [f"frame {number}" for number in range(4)]
    assert list(flow.stream(frames[:1])) == list(flow.stream([])) == []


def test_a_bad_frame_in_a_stream(flow: pr.FlowPipeline) -> None:
    frames = [real_frames(40, 56, left=100 + shift)[0] for shift in range(3)]
    stream = flow.stream([frames[0], frames[1].astype(np.int32), frames[1], frames[2][:20], frames[2]])
    with pytest.raises(pr.InputError, match="frame 1 is int32"):
        next(stream)
    assert np.array_equal(next(stream), flow(frames[0], frames[1]))
    with pytest.raises(pr.InputError, match="the frames differ in size: 56x40 and 56x20"):
        next(stream)
    assert np.array_equal(next(stream), flow(frames[1], frames[2]))


def test_the_newest_frame(flow: pr.FlowPipeline) -> None:
    """Every frame that was read is in a field, or counted as dropped."""
    frames = [real_frames(40, 56, left=100 + shift)[0] for shift in range(12)]

    def camera() -> Iterator[np.ndarray]:
        for frame in frames:
            time.sleep(0.002)
            yield frame

    with flow.stream(camera(), latest=True) as stream:
        fields = list(stream)
    assert len(fields) == stream.fields == stream.taken - 1
    assert stream.read == 12 == stream.taken + stream.dropped
    assert stream.between[1] is frames[-1]  # the last one is never dropped


def test_newest_items() -> None:
    go, closed = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(5)
            go.set()
            time.sleep(0.05)
            raise OSError("the camera was unplugged")
        finally:
            closed.set()

    newest = Newest(items())
    assert go.wait(5)
    assert next(newest) == 4
    assert (newest.read, newest.dropped) == (5, 4)
    with pytest.raises(OSError, match="unplugged"):
        next(newest)
    assert list(newest) == []
    assert closed.wait(5)
    endless = Newest(iter(int, 1))
    assert next(endless) == 0
    endless.close()
    assert list(endless) == []
    time.sleep(0.05)
    read = endless.read
    time.sleep(0.05)
    assert endless.read == read  # the thread has ended


def test_points_are_tracked(trained: pr.FlowPipeline) -> None:
    """On a photograph that moves over another: two follow it, one the background; one leaves the frame, one begins outside."""
    start = np.array([[40, 50], [60, 40], [110, 90], [3, 88], [500, 3]], np.float32)
    found = list(trained.track(photographs(5), start[:, None]))
    assert [each.valid[:2].all() for each in found] == [True] * 5
    assert np.array_equal(found[0].positions[:4], start[:4])
    for number, each in enumerate(found):
        assert each.positions.shape == (5, 2)
        assert np.array_equal(np.isfinite(each.positions).all(axis=1), each.valid)
        assert np.abs(each.positions[:2] - start[:2] - np.multiply(CAT, number)).max() < 1.0 + 0.2 * number
    assert np.abs(found[1].positions[2] - start[2] - BACKGROUND).max() < 1
    assert [each.valid[3] for each in found] == [True, True, False, False, False]
    assert not any(each.valid[4] for each in found)


def test_flow_back_is_checked(trained: pr.FlowPipeline) -> None:
    """A picture of something else: nothing is where flow says, there and back do not meet. Without the check, points go on."""
    points = np.array([[40, 50], [60, 40], [80, 30], [30, 70]])
    frames = [photographs(1)[0], np.ascontiguousarray(photographs(1)[0][::-1, ::-1])]
    _, strict = trained.track(frames, points)
    _, loose = trained.track(frames, points, max_error=1e6)
    assert strict.valid.sum() <= 1
    assert loose.valid.sum() >= 3
    for wrong in (0, -1.0, float("nan"), True):
        with pytest.raises(pr.InputError, match="max_error is"):
            trained.track(frames, points, max_error=wrong)
    with pytest.raises(pr.InputError, match=r"points have shape \(2,\)"):
        trained.track(frames, np.zeros(2))


def test_a_stream_of_a_video(trained: pr.FlowPipeline, tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", photographs(3))
    video = pr.open_video(tmp_path / "a.mp4")
    first, second = trained.stream(video)
    assert np.abs(first[40:60, 40:70] - CAT).mean() < 0.5 < np.abs(first[40:60, 100:] - CAT).mean()
    assert np.array_equal(second, list(trained.stream(video.frames()))[1])
