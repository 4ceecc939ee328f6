"""How good a bundle is on data, and how far two are apart: against sklearn and the formulas of KITTI's development kit."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published import real_frames
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main
from perceiver_runtime.files.pictures.png import SIGNATURE, decode_png16
from perceiver_runtime.tasks.fill_mask.spans import Candidate, MaskedSpan, MaskedSpans
from perceiver_runtime.tasks.labels import Labels, LabelScore, LabelScores
from perceiver_runtime.tasks.metrics.flow import FlowMetric
from perceiver_runtime.tasks.metrics.labels import LabelMetric, confusion_picture, wilson
from perceiver_runtime.tasks.metrics.texts import LATENTS, SPANS


def filtered_png(image: np.ndarray, kinds: list[int]) -> bytes:
    """uint16 (H, W, 3) with a filter for each row, byte by byte as the specification says."""
    height, width = image.shape[:2]
    rows = image.astype(">u2").view(np.uint8).reshape(height, -1).astype(int).tolist()
    raw = bytearray()
    for y, row in enumerate(rows):
        kind = kinds[y % len(kinds)]
        raw.append(kind)
        for x, value in enumerate(row):
            a = row[x - 6] if x >= 6 else 0
            b = rows[y - 1][x] if y else 0
            c = rows[y - 1][x - 6] if y and x >= 6 else 0
            nearest = min((abs(a + b - c - each), order, each) for order, each in enumerate((a, b, c)))[2]
            raw.append((value - [0, a, b, (a + b) // 2, nearest][kind]) % 256)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"tEXt", b"a\0b")]
    packed = zlib.compress(bytes(raw))
    chunks += [(b"IDAT", packed[:50]), (b"IDAT", packed[50:]), (b"IEND", b"")]
    return SIGNATURE + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [0, 1, 2, 3, 4, 2, 4, 1, 3]])
def test_16_bits_of_every_filter(kinds: list[int]) -> None:
    """Every bit as written; and Pillow, which keeps the upper eight, reads the same."""
    image = np.random.default_rng(0).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    image[:, 3:] //= 300
    content = filtered_png(image, kinds)
    assert np.array_equal(decode_png16(content, "a.png"), image)
    with Image.open(io.BytesIO(content)) as read:
        assert np.array_equal(np.asarray(read), (image >> 8).astype(np.uint8))


def test_kitti_flow_files(tmp_path: Path) -> None:
    """As the development kit writes: u and v as 64 · flow + 2^15, valid as 1; unknown pixels are zeros."""
    flow = np.random.default_rng(0).uniform(-500, 500, (6, 8, 2)).astype(np.float32)
    flow[2, 3] = np.nan
    pr.write_kitti_flow(tmp_path / "a.png", flow)
    stored = decode_png16((tmp_path / "a.png").read_bytes(), "a.png")
    known = np.isfinite(flow).all(axis=2)
    expected = np.where(known[..., None], np.rint(np.nan_to_num(flow) * 64.0 + 2**15), 0)
    assert np.array_equal(stored[..., :2], expected)
    assert np.array_equal(stored[..., 2], known)
    found = pr.read_kitti_flow(tmp_path / "a.png")
    assert found.dtype == np.float32
    assert np.isnan(found[2, 3]).all()
    assert np.abs(found - flow)[known].max() <= 0.5 / 64
    assert np.abs(found - flow)[known].max() > 0.4 / 64
    pr.write_kitti_flow(tmp_path / "b.png", found)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    with pytest.raises(pr.InputError, match=r"KITTI's files hold motion up to 512 pixels; use \.flo"):
        pr.write_kitti_flow(tmp_path / "c.png", np.full((2, 2, 2), 512.0))
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "d.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "e.png").write_bytes(content[:-20])
    (tmp_path / "f.png").write_bytes(content[:60] + b"x" + content[61:])
    for name, message in (
        ("d", "it has 8 bits and colour type 2, expected 16-bit RGB"),
        ("e", "."),
        ("f", "is damaged"),
        ("g", "No such"),
    ):
        with pytest.raises(pr.InputError, match=message):
            pr.read_kitti_flow(tmp_path / f"{name}.png")


def test_flow_is_scored_as_kitti_does() -> None:
    """The development kit's loop: an outlier is more than 3 pixels and more than 5 % of the true length off."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 60, (20, 30, 2)).astype(np.float32)
    answer = (truth + rng.normal(0, 3, truth.shape)).astype(np.float32)
    truth[:5] = np.nan
    truth[5, 5] = 1e10
    errors, outliers, absolute = [], 0, 0
    for (u, v), (du, dv) in zip(truth.reshape(-1, 2).astype(float), answer.reshape(-1, 2).astype(float)):
        if not abs(u) < 1e9:
            continue
        error = ((u - du) ** 2 + (v - dv) ** 2) ** 0.5
        errors.append(error)
        outliers += error > 3 and error / (u * u + v * v) ** 0.5 > 0.05
        absolute += error > 3
    score = FlowMetric()
    score.add(answer, truth)
    found = score.result()
    assert found["pixels"] == len(errors) == 449
    assert found["end_point_error_px"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert found["outliers"] == outliers / len(errors)
    assert 0 < outliers < absolute  # both conditions matter
    score.add(np.zeros((2, 2, 2)), np.ones((2, 2, 2), np.float32))
    assert score.result()["pixels"] == 453
    with pytest.raises(pr.InputError, match="the frames have 2x2 pixels, the true flow 3x2"):
        score.add(np.zeros((2, 2, 2)), np.ones((2, 3, 2), np.float32))
    with pytest.raises(pr.InputError, match="known nowhere"):
        score.add(np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan, np.float32))


def test_labels_are_scored_as_sklearn_does() -> None:
    rng = np.random.default_rng(0)
    names = tuple("abcdefgh")
    truth = rng.integers(0, 8, 200)
    found = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 7, 200))
    score = LabelMetric(Labels(names, "single_label"))
    for right, best in zip(truth, found):
        others = [name for name in names if name != names[best]]
        scores = [LabelScore(names[best], 0.5), *(LabelScore(name, 0.1) for name in others)]
        score.add(LabelScores(scores), names[right])
    result = score.result()
    assert result["accuracy"] == accuracy_score(truth, found)
    precision, recall, _, count = precision_recall_fscore_support(truth, found, zero_division=np.nan)
    for number, each in enumerate(result["classes"]):
        assert each["label"] == names[number]
        assert each["count"] == count[number]
        assert each["recall"] == pytest.approx(recall[number])
        assert (np.nan if each["precision"] is None else each["precision"]) == pytest.approx(precision[number], nan_ok=True)
    assert result["accuracy"] < result["top_5_accuracy"] < 1
    shares = confusion_matrix(truth, found) / confusion_matrix(truth, found).sum(axis=1, keepdims=True)
    assert np.array_equal(score.picture(), confusion_picture(shares))
    assert score.picture().shape == (8 * 24, 8 * 24, 3)
    with pytest.raises(pr.InputError, match="'x' is none of the bundle's 8 labels, which begin with a, b, c, d, e"):
        score.add(LabelScores([LabelScore("a", 1.0)]), "x")


def test_the_interval() -> None:
    """Values of R's prop.test(x, n, correct=FALSE)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_spans_and_latents() -> None:
    def answer(*texts: str) -> MaskedSpans:
        return MaskedSpans([MaskedSpan(0, 1, (Candidate(text, 0.5), Candidate("z", 0.1))) for text in texts], ["a ", " c ", ""])

    score = SPANS.score(None)
    score.add(answer("b", "d"), "a b c d")
    score.add(answer("z", "x"), "a b c z")
    one = MaskedSpans([MaskedSpan(0, 1, (Candidate("b", 0.5),))], ["a ", ""])
    score.add(one, "b")
    score.add(one, "a b")
    assert score.result()["spans"] == 6
    assert score.result()["accuracy"] == 4 / 6
    with pytest.raises(pr.InputError, match="is not the text with something in place of its masks"):
        score.add(answer("b", "d"), "other text")
    assert SPANS.distance(answer("b", "d"), answer("b", "x"))[0] is False
    a = np.random.default_rng(0).standard_normal((3, 4))
    assert LATENTS.distance(a, a * 2)[1]["cosine_distance"] == pytest.approx(0)
    assert LATENTS.distance(a, a)[1]["largest_over_spread"] == 0
    assert LATENTS.distance(a, -a)[0] is False


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty digits, a folder for each class; one file is no picture, and one lies in the wrong folder."""
    monkeypatch.chdir(tmp_path)
    images = load_digits()
    for number in range(30):
        pixels = np.repeat(np.repeat(images.images[number] * 255 / 16, 4, 0), 4, 1).astype(np.uint8)
        folder = Path("digits", str(images.target[number]) if number else "9")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat(pixels[..., None], 3, 2)).save(folder / f"{number}.png")
    Path("digits/3/broken.png").write_bytes(b"\x89PNG nothing")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, list[str]]:
    code = main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err.splitlines()


def test_evaluate_and_compare_classifiers(
    shipped: Callable[..., Path], digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shipped("image-classification")
    code, found, err = run(capsys, "evaluate", bundle, "digits", "-o", "confusion.png", "--batch", 7)
    assert (code, len(err), found["scored"], found["failed"]) == (1, 1, 30, 1)
    assert "broken.png is not an image" in err[0]
    assert 0.9 < found["accuracy"] < 1  # one is in the wrong folder
    (nine,) = [each for each in found["classes"] if each["label"] == "9"]
    assert nine["taken_for"] == {"0": 1}
    assert pr.read_image("confusion.png").shape == (240, 240, 3)
    with open("digits.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *([f"digits/{n % 10}/{n}.png", str(n % 10)] for n in range(1, 9))])
    code, found, _ = run(capsys, "evaluate", bundle, "digits.csv")
    assert (code, found["scored"]) == (0, 8)
    code, found, _ = run(capsys, "compare", bundle, bundle, "digits.csv")
    assert (code, found["compared"], found["agree"], found["different"]) == (0, 8, 1.0, [])
    assert found["apart"]["probability"]["largest"] < 1e-5
    assert 0.2 < found["times_as_fast"] < 5
    assert main(["evaluate", str(bundle), "digits"]) == 1
    assert "  0: " not in capsys.readouterr().out
    assert main(["compare", str(bundle), str(bundle), "digits/1"]) == 0
    assert "the same on 100.0% of 3 inputs" in capsys.readouterr().out
    Path("bad.csv").write_text("image,label\ndigits/1/1.png,one\n")
    code, found, _ = run(capsys, "evaluate", bundle, "bad.csv")
    assert code == 1
    assert "none of the 1 inputs of bad.csv could be scored" in found["error"]
    assert "'one' is none of the bundle's 10 labels" in found["error"]


def test_evaluate_and_compare_flow(
    small_bundle: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """KITTI's folders, folders with .flo, a table: the same pair, the same numbers. The bundle's own field has no error."""
    frames = real_frames(40, 56)
    with pr.load(small_bundle, task="flow") as flow:
        own = flow(*frames)
    truth = np.array(own) + np.array([4, 0], np.float32)
    for folder in ("kitti/image_2", "kitti/flow_occ", "scenes/one"):
        (tmp_path / folder).mkdir(parents=True)
    for name, other, frame in zip(("000000_10.png", "000000_11.png"), ("a.png", "b.png"), frames):
        Image.fromarray(frame).save(tmp_path / "kitti/image_2" / name)
        Image.fromarray(frame).save(tmp_path / "scenes/one" / other)
    pr.write_kitti_flow(tmp_path / "kitti/flow_occ/000000_10.png", truth)
    pr.write_flo(tmp_path / "scenes/one/a.flo", truth)
    (tmp_path / "pairs.csv").write_text("frame1,frame2,flow\nscenes/one/a.png,scenes/one/b.png,scenes/one/a.flo\n")
    for data in ("kitti", "scenes", "pairs.csv"):
        code, found, _ = run(capsys, "evaluate", small_bundle, tmp_path / data)
        assert (code, found["pairs"], found["pixels"]) == (0, 1, 40 * 56)
        assert found["end_point_error_px"] == pytest.approx(4, abs=0.02)
        assert found["outliers"] == 1
    code, found, _ = run(capsys, "compare", small_bundle, small_bundle, tmp_path / "scenes/one")
    assert (code, found["agree"], found["apart"]["mean_px"]["largest"]) == (0, 1.0, 0.0)
    code, found, _ = run(capsys, "compare", small_bundle, tiny_bundle, tmp_path / "pairs.csv")
    assert (code, found["agree"], len(found["different"])) == (0, 0.0, 1)
    assert found["apart"]["mean_px"]["mean"] > 0.5
    code, found, _ = run(capsys, "evaluate", small_bundle, tmp_path / "kitti/image_2")
    assert (code, "neither KITTI's image_2 and flow_occ, nor" in found["error"]) == (1, True)


def test_refused(shipped: Callable[..., Path], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("frame1,frame2\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    cases = [
        (["evaluate", small_bundle, tmp_path / "a.csv"], 1, "has no column flow"),
        (["evaluate", small_bundle, tmp_path / "gone.csv"], 1, "gone.csv is no CSV file"),
        (
            ["compare", small_bundle, shipped("image-classification"), tmp_path / "a.png"],
            2,
            "is for flow, .* for image-class",
        ),
        (
            ["compare", small_bundle, small_bundle, tmp_path / "a.png"],
            1,
            "no input could be compared: input 1 of 1 has 1 columns",
        ),
    ]
    for arguments, code, message in cases:
        found, result, _ = run(capsys, *arguments)
        assert (found, bool(re.search(message, result["error"]))) == (code, True), result
