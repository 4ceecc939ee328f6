"""Clips: files against Pillow, what is refused, and the numbers of the multimodal processor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads import CLIP_CONSTANTS
from PIL import Image
from skimage import data

from perceiver_io.tasks.multimodal import output_positions as torch_positions
from perceiver_runtime import InputError, IntegrityError, PerceiverError, read_video, write_video
from perceiver_runtime.files import clip_writers
from perceiver_runtime.processing.multimodal import MultimodalProcessor, output_positions

CLIP = MultimodalProcessor.from_json(CLIP_CONSTANTS)


def frames(count: int) -> np.ndarray:
    return np.stack([data.chelsea()[10 * step : 10 * step + 40, :60] for step in range(count)])


def test_clips_in_files(tmp_path: Path) -> None:
    clip = frames(12)
    write_video(tmp_path / "clip", clip)
    assert np.array_equal(read_video(tmp_path / "clip"), clip)
    np.save(tmp_path / "clip.npy", clip)
    assert np.array_equal(read_video(tmp_path / "clip.npy"), clip)
    write_video(tmp_path / "clip.gif", clip, frames_per_second=25)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (12, 40)
    found = read_video(tmp_path / "clip.gif")
    assert found.shape == clip.shape
    assert np.abs(found.astype(int) - clip).mean() < 8  # a GIF has 256 colours
    assert np.abs(found[::-1].astype(int) - clip).mean() > 16


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"frame{number}.png")
    assert read_video(tmp_path)[:, 0, 0, 0].tolist() == [1, 9, 10]


def test_frames_that_repeat_are_kept(tmp_path: Path) -> None:
    """Sixteen frames, three of them different; then all alike."""
    clip = frames(3)[[0, 0, 0, 1, 1, 0, 0, 2, 2, 2, 2, 2, 1, 1, 1, 1]]
    for each in (clip, clip[:1].repeat(16, axis=0)):
        write_video(tmp_path / "a.gif", each)
        found = read_video(tmp_path / "a.gif")
        assert found.shape == each.shape
        assert np.abs(found.astype(int) - each).mean() < 8
        assert [np.array_equal(found[n], found[n + 1]) for n in range(15)] == [
            np.array_equal(each[n], each[n + 1]) for n in range(15)
        ]
    few = (np.indices((8, 9)).sum(axis=0) % 3 * 100).astype(np.uint8)  # three colours survive as they are
    few = np.stack([np.dstack([few, few, few]), np.dstack([few, 255 - few, few])])
    write_video(tmp_path / "few.gif", few)
    assert np.array_equal(read_video(tmp_path / "few.gif"), few)


def test_the_ending_decides(tmp_path: Path) -> None:
    for name in ("o.webm", "o.mkv", "o.png"):
        with pytest.raises(InputError, match=f"{name} cannot be written: a clip becomes an MP4"):
            write_video(tmp_path / name, frames(2))
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "O.GIF", frames(2))
    assert read_video(tmp_path / "O.GIF").shape[0] == 2
    (tmp_path / "take.2").mkdir()
    write_video(tmp_path / "take.2", frames(2))
    assert np.array_equal(read_video(tmp_path / "take.2"), frames(2))


def test_a_shorter_clip_over_a_longer_one(tmp_path: Path) -> None:
    """Into a folder: what would be left of the longer one is named; one as long replaces it."""
    write_video(tmp_path / "clip", frames(3))
    with pytest.raises(InputError, match=r"clip holds other pictures, 0002.png among them: give another folder"):
        write_video(tmp_path / "clip", frames(2))
    write_video(tmp_path / "clip", frames(3)[::-1])
    assert np.array_equal(read_video(tmp_path / "clip"), frames(3)[::-1])
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_a_clip_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, frame: Any) -> None:
        if path.name == "0001.png":
            raise InputError("no space left on device")
        path.write_bytes(b"")

    monkeypatch.setattr(clip_writers, "write_image", full)
    with pytest.raises(InputError, match="no space left"):
        write_video(tmp_path / "clip", frames(3))
    assert list(tmp_path.iterdir()) == []


def test_a_still_is_no_clip(tmp_path: Path) -> None:
    Image.fromarray(frames(1)[0]).save(tmp_path / "still.png")
    with pytest.raises(
        InputError,
        match=r"still.png is a still picture: give a video file .*, a folder of pictures, .* an animated GIF, or a .npy",
    ):
        read_video(tmp_path / "still.png")
    np.save(tmp_path / "still.npy", frames(1)[0])
    with pytest.raises(InputError, match=r"holds an array of shape \(40, 60, 3\), expected a clip \(T, H, W, 3\)"):
        read_video(tmp_path / "still.npy")
    with pytest.raises(InputError, match=r"the clip has shape \(4, 60, 3\), expected \(T, H, W, 3\)"):
        CLIP.video(frames(1)[0][:4])


def test_names_of_frames(tmp_path: Path) -> None:
    """Digits that are no numbers, hidden files, numbers with zeros; a frame that is there twice is named."""
    for value, name in enumerate(["1.png", "1²3.png", "2.png", "٣.png", "b01.png", "b1.png"]):
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(tmp_path / name)
    (tmp_path / "._0.png").write_bytes(b"what macOS leaves")
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert sorted(read_video(tmp_path)[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "2.bmp")
    with pytest.raises(InputError, match="holds 2 in several formats: keep one"):
        read_video(tmp_path)


def test_parts_of_clips(tmp_path: Path) -> None:
    """Of each kind the frames asked for, and no others are decoded."""
    clip = frames(6)
    write_video(tmp_path / "clip", clip)
    np.save(tmp_path / "clip.npy", clip)
    write_video(tmp_path / "clip.gif", clip)
    whole = read_video(tmp_path / "clip.gif")
    (tmp_path / "clip" / "0000.png").write_bytes(b"broken, and not asked for")
    for name, expected in (("clip", clip), ("clip.npy", clip), ("clip.gif", whole)):
        assert np.array_equal(read_video(tmp_path / name, start=2, frames=3), expected[2:5])
        with pytest.raises(InputError, match=f"{name} has 6 frames: the first of 3 can be number 0 to 3, not 4"):
            read_video(tmp_path / name, start=4, frames=3)
        with pytest.raises(InputError, match=f"{name} has 6 frames, 16 are needed: give a longer clip"):
            read_video(tmp_path / name, start=0, frames=16)


def test_clips_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        read_video(tmp_path)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((5, 4, 3), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="differ in size"):
        read_video(tmp_path)
    (tmp_path / "bad.gif").write_bytes(b"GIF89a broken")
    with pytest.raises(InputError, match="is not a GIF that can be read"):
        read_video(tmp_path / "bad.gif")
    with pytest.raises(InputError, match="the clip has 3 frames, the model takes exactly 4: choose 4"):
        CLIP.video(frames(3))
    with pytest.raises(InputError, match=r"frame 0 has shape \(40, 60, 2\)"):
        CLIP.video(frames(4)[..., :2])


def test_frames_are_cropped_to_the_model_s_proportions() -> None:
    wide = np.zeros((4, 64, 200, 3), np.uint8)
    wide[:, :, 52:148] = 255  # the middle 96 of 200 columns: all that a 32x48 frame of 64 rows takes
    found = CLIP.video(wide)
    assert found.shape == (1, 4, 3, 32, 48)
    assert found.min() == 1.0
    assert CLIP.video([frame / 255 for frame in wide]).shape == (1, 4, 3, 32, 48)


@pytest.mark.parametrize("size", [(16, 224, 224), (1920,), (5, 7)])
def test_output_positions_are_torch_s(size: tuple[int, ...]) -> None:
    places = np.unique(np.linspace(0, np.prod(size) - 1, 5000).astype(np.int64))
    expected = torch_positions(torch.from_numpy(places), size).numpy()
    assert np.array_equal(output_positions(places, size), expected)
    ends = [np.linspace(-1, 1, side, dtype=np.float32) for side in size]
    assert expected.max() < 1 <= max(axis.max() for axis in ends)  # not the inputs' grid, which has both ends


def test_chunks() -> None:
    assert CLIP.chunk(None, None) == 100
    assert CLIP.chunk(7, "500MB") == 7
    assert CLIP.chunk(None, "5MB") == CLIP.chunk(None, 5_000_000) == 5000
    for wrong in ((0, None), (None, 0), (None, float("nan")), (None, "lots")):
        with pytest.raises(PerceiverError, match="give"):
            CLIP.chunk(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"frames": 99999},
        {"frames": 1.5},
        {"frames": True},
        {"frames": "8"},
        {"samples_per_patch": 7},
        {"samples_per_patch": 0},
        {"frame_size": [9]},
        {"frame_size": [8.0, 8.0]},
        {"query_bytes": 0},
        {"query_chunk": 1 << 40},
        {"sampling_rate": None},
        {"sampling_rate": 1 << 40},
    ],
)
def test_constants_that_make_no_sense(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(IntegrityError, match=rf"manifest\.processor.*\b{name}\b"):
        MultimodalProcessor.from_json({**CLIP_CONSTANTS, **change})
