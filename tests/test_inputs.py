"""Inputs as people have them: every kind that a call takes gives the same answer, and the rest is refused in one sentence."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.files.clips import read_clip, sound_of
from perceiver_runtime.files.sources import several
from perceiver_runtime.processing.flow import read_frames
from perceiver_runtime.processing.image import checked_image
from perceiver_runtime.ray import BundleRows

PICTURE = real_frames(40, 56)[0]


class Like:
    """What is no array, and converts to one."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return PICTURE


def png(image: np.ndarray = PICTURE) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def npy(image: np.ndarray = PICTURE) -> bytes:
    file = io.BytesIO()
    np.save(file, image)
    return file.getvalue()


FORMS: dict[str, Callable[[Path], Any]] = {
    "str": lambda path: str(path),
    "PathLike": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "bytes of npy": lambda path: npy(),
    "file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "PIL": lambda path: Image.open(path),
    "PIL in memory": lambda path: Image.fromarray(PICTURE),
    "array": lambda path: PICTURE,
    "tensor": lambda path: torch.from_numpy(PICTURE.copy()),
    "array-like": lambda path: Like(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(png())
    return tmp_path / "a.png"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("form", FORMS)
def test_a_picture_in_every_form(form: str, path: Path) -> None:
    assert np.array_equal(pr.read_image(FORMS[form](path)), PICTURE)
    assert np.array_equal(checked_image(FORMS[form](path), "the image"), PICTURE)
    first, second = read_frames(FORMS[form](path), PICTURE)
    assert np.array_equal(first, second)


def test_pillow_s_own_pictures_are_read_as_their_files(tmp_path: Path) -> None:
    """Modes, depths and orientation: whichever way it comes."""
    pictures = {"alpha.png": Image.fromarray(PICTURE).convert("RGBA"), "grey.png": Image.fromarray(PICTURE).convert("L")}
    pictures |= {
        "deep.png": Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 16),
        "p.png": Image.fromarray(PICTURE).quantize(9),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(PICTURE).save(tmp_path / "turned.png", exif=turned)
    for name in [*pictures, "turned.png"]:
        with Image.open(tmp_path / name) as opened:
            assert np.array_equal(pr.read_image(opened), pr.read_image(tmp_path / name)), name
    assert pr.read_image(tmp_path / "turned.png").shape == (56, 40, 3)
    dark = Image.fromarray((PICTURE[..., 0] // 4).astype(np.uint16) * 16)
    first, second = read_frames(pictures["deep.png"], dark)  # one scale for both
    assert first.mean() > 3 * second.mean()
    assert pr.read_image(dark).mean() > 3 * second.mean()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"image": 1}, "the image is a dict: give a path, the bytes of a file, a file object, a PIL image, or an array"),
        (None, "the image is a NoneType: give a path"),
        (7, "the image is a int: give a path"),
        ([PICTURE], r"the image is a list: give a path, .* \(H, W, 3\) in RGB \(OpenCV's: pr.from_bgr\)"),
        ("https://example.org/cat.jpg", "the image is an address, https://example.org/cat.jpg: give the path of a file"),
        ("", "the image is an empty name"),
        ("gone.png", "there is no file gone.png"),
        ("x" * 5000, "there is no file x+…"),
        ("a\0b.png", "there is no file"),
        (b"", "the image holds nothing"),
        (b"GIF89a", "the image is not an image that can be read"),
        (png()[:200], "the image is not an image that can be read"),
        (npy()[:300], "the image cannot be read as a numpy array: its header says 6720 bytes"),
        (io.StringIO("text"), "the image is a file opened for str: open it with mode 'rb'"),
        (torch.zeros(4, 4, 3, requires_grad=True), r"the image is a Tensor that numpy cannot convert .*detach\(\)"),
        (torch.zeros(4, 4, 3, device="meta"), r"the image is a Tensor that numpy cannot convert .*: give tensor"),
        (np.zeros((3, 40, 56), np.uint8), r"has shape \(3, 40, 56\), expected .*: transpose it, channels come last"),
        (np.zeros((2, 40, 56, 3), np.uint8), r"has shape \(2, 40, 56, 3\), expected \(H, W, 3\)"),
        (np.array([["a"]], object), r"the image is object, expected uint8, or float in \[0, 1\]"),
    ],
)
def test_what_is_no_picture(value: Any, message: str) -> None:
    with pytest.raises(pr.InputError, match=message) as refused:
        checked_image(value, "the image")
    assert "\n" not in str(refused.value)


def test_bgr() -> None:
    bgr = np.ascontiguousarray(PICTURE[..., ::-1])
    assert np.array_equal(pr.from_bgr(bgr), PICTURE)
    assert not np.array_equal(bgr, PICTURE)
    assert np.array_equal(pr.from_bgr(np.stack([bgr, bgr])), np.stack([PICTURE, PICTURE]))
    alpha = np.concatenate([bgr, bgr[..., :1]], axis=2)
    assert np.array_equal(pr.from_bgr(alpha)[..., 3], alpha[..., 3])
    assert np.array_equal(pr.from_bgr(torch.from_numpy(bgr)), PICTURE)
    for wrong in ([bgr], bgr[..., 0], "a.png"):
        with pytest.raises(pr.InputError, match=r"give an array \(H, W, 3\)"):
            pr.from_bgr(wrong)


def test_one_or_several(path: Path) -> None:
    stack = np.stack([PICTURE, PICTURE])
    for many in ([1, 2], (1, 2), iter([1, 2]), (each for each in (1, 2)), np.array(["a", "b"]), stack, torch.from_numpy(stack)):
        found = several(many, axes=3)
        assert found is not None
        assert len(found) == 2
    with path.open("rb") as file:
        for one in ("ab", b"ab", file, PICTURE, Image.fromarray(PICTURE), torch.from_numpy(PICTURE.copy()), {"a": 1}, 7, None):
            assert several(one, axes=3) is None
    assert several(("a", "b"), tuples=False) is None
    assert several(stack) is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_task_takes_them(shipped: Callable[..., Path], small_bundle: Path, path: Path) -> None:
    with pr.load(shipped("image-classification")) as classify:
        expected = classify(PICTURE)
        for form, make in FORMS.items():
            assert classify(make(path)) == expected, form
        for many in ([path, PICTURE], (path, PICTURE), (each for each in [path, PICTURE]), np.stack([PICTURE, PICTURE])):
            found = classify(many)
            assert len(found) == 2
            assert found[0][0].probability == pytest.approx(expected[0].probability, rel=1e-4)
        with pytest.raises(pr.InputError, match="image 1 is a int: give a path"):
            classify([path, 7])
    with pr.load(small_bundle) as flow:
        points = np.array([[3, 4]])
        expected_motion = flow.at(*real_frames(40, 56), points)
        Image.fromarray(real_frames(40, 56)[1]).save(path.with_name("b.png"))
        for make in FORMS.values():
            assert np.array_equal(flow.at(make(path), path.with_name("b.png"), points), expected_motion)
        with pytest.raises(pr.InputError, match="frame2 is a int"):
            flow(PICTURE, 7)
        assert flow(np.dstack([PICTURE, PICTURE[..., 0]]), PICTURE).shape == (40, 56, 2)  # transparency is dropped
    rows = BundleRows(shipped("image-classification"))
    column = np.empty(3, object)
    column[:] = [png(), str(path), 7]
    table = rows({"image": column})
    assert table["label"][0] == table["label"][1] == expected[0].label
    assert "the image is a int: give a path" in table["error"][2]


def test_texts_from_generators(shipped: Callable[..., Path]) -> None:
    with pr.load(shipped("text-classification")) as classify:
        expected = classify(["a bird", "to walk"])
        assert classify(each for each in ["a bird", "to walk"]) == classify(np.array(["a bird", "to walk"])) == expected
        with pytest.raises(pr.InputError, match="a text should be a str, found bytes: decode bytes, and read files, first"):
            classify(b"a bird")
        with pytest.raises(pr.InputError, match="text 2 of 2: a text should be a str, found PosixPath"):
            classify(["a bird", Path("a.txt")])


def test_clips_and_sounds(tmp_path: Path, path: Path) -> None:
    clip = np.stack([PICTURE] * 3)
    pr.write_video(tmp_path / "clip", clip)
    pr.write_wav(tmp_path / "a.wav", np.linspace(-1, 1, 50), 8000)
    for form in (tmp_path / "clip", str(tmp_path / "clip"), clip, torch.from_numpy(clip), [path, png(), PICTURE]):
        assert np.array_equal(np.stack(list(read_clip(form))), clip)
    assert np.array_equal(np.stack(list(read_clip(Image.open(path) for _ in range(3)))), clip)
    expected = pr.read_wav(tmp_path / "a.wav")
    for sound in (tmp_path / "a.wav", (tmp_path / "a.wav").read_bytes(), io.BytesIO((tmp_path / "a.wav").read_bytes())):
        found: Any = sound_of(sound)
        assert found.rate == 8000
        assert np.array_equal(found.samples, expected.samples)
    assert sound_of(None) is None
    with pytest.raises(pr.InputError, match="the clip is a int: give a path, a Video of open_video, an array"):
        read_clip(7)
    with pytest.raises(pr.InputError, match="frame 1 is a int: give a path"):
        read_clip([path, 7])
    with pytest.raises(pr.InputError, match="the audio is a list: give a path"):
        sound_of([0.0])
    with pytest.raises(pr.InputError, match="the sound is no WAV file that can be read, it is FLAC"):
        sound_of(b"fLaC" + bytes(20))
