"""`.flo` files, colours and warping."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

import perceiver_runtime as pr
from perceiver_runtime.processing.flow_image import color_wheel


def test_flo_round_trip_and_exact_bytes(tmp_path: Path) -> None:
    flow = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    pr.write_flo(tmp_path / "a.flo", flow)
    raw = (tmp_path / "a.flo").read_bytes()
    assert raw[:12] == b"PIEH\x03\x00\x00\x00\x02\x00\x00\x00"
    assert np.frombuffer(raw[:4], "<f4")[0] == np.float32(202021.25)
    assert raw[12:] == flow.tobytes()
    assert np.array_equal(pr.read_flo(tmp_path / "a.flo"), flow)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no .flo file: it does not begin with the tag"),
        (b"PNG." * 4, "is no .flo file"),
        (b"PIEH" + np.array([3, 2], "<i4").tobytes() + b"\0" * 47, "says 3x2 and has 59 bytes: it is damaged"),
        (b"PIEH" + np.array([-3, 2], "<i4").tobytes(), "it is damaged"),
        (b"PIEH" + np.array([2**30, 2**30], "<i4").tobytes(), "it is damaged"),
    ],
)
def test_broken_flo(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.flo").write_bytes(content)
    with pytest.raises(pr.InputError, match=message):
        pr.read_flo(tmp_path / "a.flo")


def test_missing_flo(tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match="cannot be read"):
        pr.read_flo(tmp_path / "a.flo")


def test_flo_wants_a_field(tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match=r"shape \(4, 4\), expected \(H, W, 2\)"):
        pr.write_flo(tmp_path / "a.flo", np.zeros((4, 4)))


def test_wheel_is_middlebury_s() -> None:
    """The corners of the published wheel: 55 colours, and where each primary begins."""
    wheel = (color_wheel() * 255).round().astype(int)
    assert wheel.shape == (55, 3)
    corners = {0: (255, 0, 0), 15: (255, 255, 0), 21: (0, 255, 0), 25: (0, 255, 255), 36: (0, 0, 255), 49: (255, 0, 255)}
    assert {place: tuple(wheel[place].tolist()) for place in corners} == corners
    assert tuple(wheel[1]) == (255, 17, 0)


def test_colours_show_direction_and_length() -> None:
    directions = np.array([[[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [0.5, 0], [np.nan, 0], [3, 0]]], np.float32)
    right, left, down, up, still, half, unknown, beyond = pr.flow_to_image(directions, max_motion=1)[0].astype(int)
    assert right[0] > 250 > right[1] + 100  # red
    assert left[0] == 0  # cyan to blue
    assert left[2] == 255
    assert down[0] == 255  # yellow
    assert down[1] > 100
    assert up[2] > 200  # violet
    assert still.tolist() == [255, 255, 255]
    assert (half > right - 1).all()
    assert unknown.tolist() == [0, 0, 0]
    assert beyond[0] == int(right[0] * 0.75)


def test_default_scale_is_the_longest_motion() -> None:
    field = np.random.default_rng(0).normal(size=(5, 6, 2))
    longest = np.hypot(field[..., 0], field[..., 1]).max()
    assert np.array_equal(pr.flow_to_image(field), pr.flow_to_image(field, max_motion=longest))
    assert not np.array_equal(pr.flow_to_image(field), pr.flow_to_image(field, max_motion=2 * longest))


@pytest.mark.parametrize("image", [data.coffee()[:60, :80], data.camera()[:60, :80]], ids=["colour", "grey"])
def test_warp_is_scipy_s_linear_interpolation(image: np.ndarray) -> None:
    flow = np.random.default_rng(0).normal(size=(60, 80, 2)).astype(np.float32) * 5
    rows, columns = np.mgrid[0:60, 0:80].astype(np.float32)
    places = [rows + flow[..., 1], columns + flow[..., 0]]
    channels = np.atleast_3d(image).astype(np.float32)
    expected = np.stack([ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in channels.transpose(2, 0, 1)], -1)
    found = np.atleast_3d(pr.warp(image, flow))
    assert np.abs(found - expected).max() < 0.01
    assert np.abs(np.atleast_3d(pr.warp(image, -flow)) - expected).max() > 5


def test_warp_undoes_a_shift() -> None:
    image = data.coffee()[:60, :80]
    flow = np.broadcast_to(np.array([3, -2], np.float32), (60, 80, 2))
    moved = np.roll(image, (-2, 3), axis=(0, 1))
    assert np.array_equal(pr.warp(moved, flow)[5:-5, 5:-5], image[5:-5, 5:-5])


def test_sizes_must_match() -> None:
    with pytest.raises(pr.InputError, match="must be of one size"):
        pr.warp(np.zeros((4, 5)), np.zeros((5, 4, 2)))
    with pytest.raises(pr.InputError, match=r"expected \(H, W, 2\)"):
        pr.flow_to_image(np.zeros((4, 5)))


@pytest.mark.parametrize("unknown", [1e9, -1e9, 1.6e9, 1e10, np.nan, np.inf])
def test_unknown_motion_is_black_and_changes_nothing_else(unknown: float, tmp_path: Path) -> None:
    """Of a file with holes, in one of the two numbers or both."""
    field = np.random.default_rng(0).normal(size=(5, 6, 2)).astype(np.float32)
    holes = field.copy()
    holes[1, 2], holes[3, 4, 1] = unknown, unknown
    pr.write_flo(tmp_path / "a.flo", holes)
    found, expected = pr.flow_to_image(pr.read_flo(tmp_path / "a.flo")), pr.flow_to_image(field)
    at = np.zeros((5, 6), bool)
    at[1, 2] = at[3, 4] = True
    assert not found[at].any()
    assert np.array_equal(found[~at], expected[~at])
    assert np.array_equal(pr.flow_to_image(np.full((2, 2, 2), unknown)), np.zeros((2, 2, 3)))
    image = data.coffee()[:5, :6]
    assert not pr.warp(image, holes)[at].any()
    assert np.array_equal(pr.warp(image, holes)[~at], pr.warp(image, field)[~at])


def test_flow_pictures_that_are_refused() -> None:
    for scale in (0, -1.0, float("nan")):
        with pytest.raises(pr.InputError, match=f"max_motion is {scale}: give a positive number"):
            pr.flow_to_image(np.zeros((2, 2, 2)), max_motion=scale)
    with pytest.raises(pr.InputError, match="flow is a list, expected a numpy array"):
        pr.flow_to_image([[[0, 0]]])  # type: ignore[arg-type]


def test_a_flo_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match=r"a\.flo cannot be written: No such file"):
        pr.write_flo(tmp_path / "no" / "a.flo", np.zeros((2, 2, 2)))
