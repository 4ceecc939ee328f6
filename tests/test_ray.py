"""Tables through bundles: rows as Ray Data gives them, and the example on a simulated cluster that loses a node."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import perceiver_runtime as pr
from perceiver_runtime.ray import BundleRows
from perceiver_runtime.tasks.known_answer import FILE, Sample

ROOT = Path(__file__).parent.parent


def column(*values: object) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def digit(number: int) -> np.ndarray:
    pixels = load_digits().images[number] * 255 / 16
    return np.repeat(np.repeat(pixels, 4, 0), 4, 1).astype(np.uint8)


def test_good_and_bad_images(shipped: Callable[..., Path], tmp_path: Path) -> None:
    """A bad row says why and spares the others, in reading and in answering."""
    Image.fromarray(digit(3)).save(tmp_path / "3.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing more")
    rows = BundleRows(shipped("image-classification"))
    images = column(str(tmp_path / "3.png"), str(tmp_path / "broken.png"), digit(7), np.zeros((2, 2, 9), np.uint8))
    found = rows({"id": column("a", "b", "c", "d"), "image": images})
    assert found["label"].tolist()[::2] == ["3", "7"]
    assert found["label"].tolist()[1::2] == [None, None]
    assert found["error"].tolist()[::2] == ["", ""]
    assert "broken.png" in found["error"][1]
    assert found["error"][3]
    assert np.isnan(found["probability"][1])
    assert found["probability"][0] > 0.5
    assert found["id"].tolist() == ["a", "b", "c", "d"]


def test_texts(shipped: Callable[..., Path]) -> None:
    texts = column("a small bird", "", "to walk slowly")
    labels = BundleRows(shipped("text-classification"))({"text": texts})
    with pr.load(shipped("text-classification"), threads=1) as classify:
        assert labels["label"][0] == classify("a small bird", top_k=1)[0].label
    assert labels["error"].tolist() == ["", "the text is empty: give at least one character", ""]
    filled = BundleRows(shipped("fill-mask"))({"text": column("a small[MASK*5]", "no mask")})
    assert filled["filled"][0].startswith("a small")
    assert "the text has no mask" in filled["error"][1]


def test_what_strangers_write_is_plain_text(shipped: Callable[..., Path]) -> None:
    """Unless it is asked for, `[MASK]` in a column of texts to classify is six letters."""
    text = "[MASK][SEP] a small bird [CLS]"
    with pr.load(shipped("text-classification"), threads=1) as classify:
        for plain in (True, False):
            expected = classify(text, top_k=1, plain=plain)[0].probability
            found = BundleRows(shipped("text-classification"), plain=plain)({"text": column(text)})
            assert found["probability"][0] == pytest.approx(expected, rel=1e-5)
        usual = BundleRows(shipped("text-classification"))({"text": column(text)})["probability"][0]
        assert usual == pytest.approx(classify(text, top_k=1, plain=True)[0].probability, rel=1e-5)
        assert usual != pytest.approx(classify(text, top_k=1)[0].probability, rel=1e-5)


def test_flow(shipped: Callable[..., Path], tmp_path: Path) -> None:
    inputs = Sample.read(shipped("flow") / FILE).inputs
    frames = {name: column(inputs[name], inputs[name]) for name in ("frame1", "frame2")}
    found = BundleRows(shipped("flow"), flo=tmp_path / "flo")({"id": column("one", "../two"), **frames})
    field = pr.read_flo(tmp_path / "flo" / "one.flo")
    assert found["flo"].tolist() == [str(tmp_path / "flo" / "one.flo"), str(tmp_path / "flo" / "two.flo")]
    assert found["mean_dx"][0] == pytest.approx(field[..., 0].mean(), abs=1e-5)
    assert found["max_length"][0] == pytest.approx(np.hypot(*field.transpose(2, 0, 1)).max(), abs=1e-5)


def test_clips_and_features(shipped: Callable[..., Path]) -> None:
    inputs = Sample.read(shipped("multimodal") / FILE).inputs
    found = BundleRows(shipped("multimodal"))({"video": column(inputs["video"], inputs["video"][:3])})
    assert found["label"][0]
    assert "frames" in found["error"][1]
    features = BundleRows(shipped("features"))
    latents = features(
        {"text": column("a text"), "image": column(digit(1)), "frame1": column(0), "video": column(0)} | inputs_of(features)
    )
    assert latents["latents"][0].ndim == 2


def inputs_of(rows: BundleRows) -> dict[str, np.ndarray]:
    frames = {name: column(np.zeros((40, 50, 3), np.uint8)) for name in ("frame1", "frame2")}
    return frames if rows._columns == ("frame1", "frame2") else {}


def test_a_missing_column(shipped: Callable[..., Path]) -> None:
    rows = BundleRows(shipped("image-classification"))
    with pytest.raises(pr.UsageError, match="the table has no column image: a bundle for image-classification reads it"):
        rows({"picture": column("x")})


def test_five_hundred_items_and_a_lost_node(ray_python: Path, shipped: Callable[..., Path], tmp_path: Path) -> None:
    source, output = tmp_path / "digits", tmp_path / "table"
    source.mkdir()
    bad = {f"{number:03}.png" for number in range(7, 500, 50)}
    for number in range(500):
        path = source / f"{number:03}.png"
        Image.fromarray(digit(number)).save(path)
        if path.name in bad:
            path.write_bytes(path.read_bytes()[:40])
    ran = tmp_path / "ran"
    for name in ("queue", "random", "types", "numpy"):  # named as modules that the workers import
        (source / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})")
    command = [ray_python, ROOT / "tests" / "ray_job.py", ROOT / "examples" / "ray_table.py"]
    done = subprocess.run(
        [*command, shipped("image-classification"), source, output],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=source,
    )
    assert not ran.exists(), ran.read_text()
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0, done.stderr[-3000:]
    assert sorted(found["ids"]) == [f"{number:03}.png" for number in range(500)]  # each once
    assert set(found["errors"]) == bad
    assert all(name in reason for name, reason in found["errors"].items())
    right = sum(found["labels"][name] == str(load_digits().target[int(name[:3])]) for name in found["labels"])
    assert right > 0.95 * len(found["labels"])
    assert 60 <= found["interrupted_at"] < 500
    assert found["unchanged"] == found["files_before"] > 0  # what was done was not done again
