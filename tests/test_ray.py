"""Tables through bundles: rows as Ray Data gives them, and the example on a simulated cluster that loses a node."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import perceiver_runtime as pr
from perceiver_runtime.common.children import python_code
from perceiver_runtime.ray import BundleRows
from perceiver_runtime.ray.pace import Pace
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
    code, message = found["refused"]
    assert code == 2
    room = r"there is room for ([34]) actors of 1 CPUs on [23] nodes, the job asks for 9, 9 CPUs: give --actors \1"
    assert re.search(room, message), message  # the lost node may still be counted
    assert "Traceback" not in message


def test_map_batches_as_the_guide_says(ray_python: Path, shipped: Callable[..., Path], tmp_path: Path) -> None:
    """The block of docs/scale.md, on a table of five pairs and a block of nothing but errors."""
    block = (ROOT / "docs" / "scale.md").read_text().split("```python\nimport ray\n")[1].split("```")[0]
    frames = Sample.read(shipped("flow") / FILE).inputs
    for name in ("frame1", "frame2"):
        np.save(tmp_path / f"{name}.npy", frames[name])
    code = (
        f"""
import ray, sys, pyarrow, pyarrow.parquet
good, bad = {str(tmp_path)!r} + "/frame1.npy", "gone.npy"
pyarrow.parquet.write_table(pyarrow.table({{"frame1": [good] * 2 + [bad] * 2, "frame2": [good] * 4}}), "pairs.parquet")
ray.init(num_cpus=2, include_dashboard=False)
"""
        + block.replace("/bundles/flow", str(shipped("flow")))
        .replace("num_cpus=2", "num_cpus=1")
        .replace("size=4", "size=1")
        .replace("batch_size=64", "batch_size=2")
        + """
found = pyarrow.parquet.read_table("motion").to_pylist()
good = [row for row in found if not row["error"] and row["mean_dx"] is not None]
print(len(found), len(good), sum("gone.npy" in row["error"] for row in found))
"""
    )
    done = subprocess.run(
        [*python_code(code, ray_python)], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "4 2 2"
    assert "ray_remote_args" not in done.stderr


def test_rows_at_once() -> None:
    """As many as take a quarter of a second: one that takes longer runs alone, and the first says little of the rest."""
    pace = Pace(0.25, 64)
    assert pace.rows == 1
    pace.measured(1, 0.001)
    assert pace.rows == 8
    for _ in range(3):
        pace.measured(pace.rows, pace.rows * 0.001)
    assert pace.rows == 64
    pace.measured(64, 64 * 0.01)
    assert pace.rows == 25
    pace.measured(1, 9.0)
    assert pace.rows == 1
    shared = Pace(0.5, 512, least=4)  # a row for each of four runs at once, however dear
    shared.measured(4, 36.0)
    assert shared.rows == 4


def test_several_runs_share_a_bundle(shipped: Callable[..., Path]) -> None:
    images = column(*(digit(number) for number in range(40)), "gone.png")
    bundle = shipped("image-classification")
    expected = BundleRows(bundle, batch=1)({"image": images})
    for found in (
        BundleRows(bundle, parallel=3)({"image": images}),
        BundleRows(bundle, batch=7, parallel=2)({"image": images}),
    ):
        assert found["label"].tolist() == expected["label"].tolist()
        assert found["error"].tolist() == expected["error"].tolist()
        np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-5)
    with pytest.raises(pr.UsageError, match="parallel is 0: give a whole number of at least 1"):
        BundleRows(bundle, parallel=0)


def test_values_that_are_missing(shipped: Callable[..., Path]) -> None:
    """A null is no text; a column of answers without any is no column of numbers."""
    found = BundleRows(shipped("text-classification"))({"text": column(None, float("nan"), 7)})
    missing = "the column text holds no text: the value is missing"
    assert found["error"].tolist() == [missing, missing, "the column text holds int: give texts"]
    assert found["label"].tolist() == [None] * 3


def test_a_column_that_answers_would_replace(shipped: Callable[..., Path]) -> None:
    with pytest.raises(pr.UsageError, match="the table has a column label, which answers would replace: rename it first"):
        BundleRows(shipped("image-classification"))({"image": column(digit(1)), "label": column("1")})


def test_addresses_of_the_web(shipped: Callable[..., Path]) -> None:
    found = BundleRows(shipped("image-classification"))({"image": column("https://example.org/a.png")})
    assert found["error"][0].startswith("https://example.org/a.png is an address of the web: download it first")
