"""Many inputs: `map` in Python, tables by command, in order, with what failed in its place, and continued where they end."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgery import edit_manifest
from PIL import Image
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.jobs import tally
from perceiver_runtime.tasks.jobs.lines import Lines
from perceiver_runtime.tasks.jobs.listing import named, table
from perceiver_runtime.tasks.kinds.clip import CLIP
from perceiver_runtime.tasks.kinds.frames import FRAMES
from perceiver_runtime.tasks.kinds.image import IMAGE
from perceiver_runtime.tasks.kinds.text import TEXT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures of a folder, the second of which is none."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, frame in zip(("1", "10"), real_frames(40, 56)):
        Image.fromarray(frame).save(f"photos/{name}.png")
    Path("photos/2.png").write_bytes(b"\x89PNG nothing")
    Path("photos/notes.txt").write_text("no picture")
    return tmp_path


def pictures() -> list[str]:
    return ["photos/1.png", "photos/2.png", "photos/10.png"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, list[str]]:
    code = main(["run", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_what_names_stand_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.shown for each in named(["photos"], IMAGE)] == pictures()  # in natural order
    assert [each.shown for each in named(["photos/1*.png"], IMAGE)] == ["photos/1.png", "photos/10.png"]
    assert [each.shown for each in named(["**/*.png", "x.png"], IMAGE)] == [*pictures(), "x.png"]
    Image.new("RGB", (4, 4)).save("a[1].png")
    assert [each.shown for each in named(["a[1].png"], IMAGE)] == ["a[1].png"]  # a name before a pattern
    assert [each.shown for each in named(["photos"], FRAMES)] == [pictures()[:2], pictures()[1:]]
    assert [each.shown for each in named(["photos", "*"], TEXT)] == ["photos", "*"]
    assert [each.row for each in named(["a.gif\tb.wav", "c.gif"], CLIP)] == [
        {"video": "a.gif", "audio": "b.wav"},
        {"video": "c.gif"},
    ]
    Path("empty").mkdir()
    for name, message in (("empty", "holds no files that end in .png"), ("*.jpg", r"no file matches \*.jpg")):
        (found,) = named([name], IMAGE)
        assert isinstance(found.row, InputError)
        with pytest.raises(InputError, match=message):
            raise found.row
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"photos/1.png\r\n\n\xff\nphotos/10.png")))
    first, second, third = named(["-"], IMAGE)
    assert (first.shown, third.shown) == ("photos/1.png", "photos/10.png")
    assert "line 3 of standard input is not UTF-8" in str(second.row)


class Counted:
    """Gives inputs, and says how many were asked for."""

    def __init__(self, inputs: list[Any]) -> None:
        self.inputs, self.given = inputs, 0

    def __iter__(self) -> Iterator[Any]:
        for each in self.inputs:
            self.given += 1
            yield each


def test_map(shipped: Callable[..., Path], here: Path) -> None:
    frame = real_frames(40, 56)[0]
    with pr.load(shipped("image-classification"), task="image-classification") as classify:
        expected = classify([frame, frame[::-1], frame])
        inputs = Counted([frame, "photos/2.png", frame[::-1], 7, "photos/1.png"])
        answers = classify.map(inputs, batch_size=2, on_error="return", top_k=5)
        assert inputs.given == 0
        first = next(answers)
        assert inputs.given == 2  # a batch, and no more
        rest = list(answers)
        assert first[0].probability == pytest.approx(expected[0][0].probability, rel=1e-4)
        assert rest[1][0].probability == pytest.approx(expected[1][0].probability, rel=1e-4)
        assert rest[3] == classify(frame)
        assert str(rest[0]).startswith("inputs[1]: photos/2.png is not an image that can be read")
        assert str(rest[2]).startswith("inputs[3]: the image is a int: give a path")
        seen: list[Any] = []
        answers = classify.map([frame, 7, frame], batch_size=3, progress=lambda done, total: seen.append((done, total)))
        assert next(answers)[0].label == expected[0][0].label  # what comes before it is answered
        with pytest.raises(pr.InputError, match=r"^inputs\[1\]: the image is a int"):
            next(answers)
        assert seen == [(0, 3), (1, 3)]
        assert len(list(classify.map(np.stack([frame, frame]), batch_size=9))) == 2
        for wrong, error, message in (("a.png", pr.InputError, "found str"), ([7], pr.UsageError, "on_error is 'ignore'")):
            with pytest.raises(error, match=message):
                classify.map(wrong, on_error="raise" if isinstance(wrong, str) else "ignore")  # type: ignore[arg-type]
        with pytest.raises(pr.UsageError, match="batch_size is 0: give a whole number of at least 1"):
            classify.map([], batch_size=0)


def test_map_of_pairs(small_bundle: Path, here: Path) -> None:
    frames = real_frames(40, 56)
    with pr.load(small_bundle, task="flow") as flow:
        pairs = [frames, ("photos/1.png", "photos/10.png"), ("photos/1.png", "photos/2.png"), frames[0]]
        first, second, third, fourth = flow.map(pairs, on_error="return")
        assert np.array_equal(first, second)
        assert isinstance(first, pr.FlowField)
        assert "photos/2.png is not an image" in str(third)
        assert str(fourth) == "inputs[3]: give a tuple of two frames; found ndarray"


def test_a_table_of_pictures(shipped: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = shipped("image-classification")
    code, out, err = run(capsys, bundle, "photos", "--jsonl", "a.jsonl", "--top-k", "2", "--batch", "2", "--json")
    first, second, third = read("a.jsonl")
    with pr.load(bundle) as classify:
        assert first["labels"] == classify("photos/1.png", top_k=2).to_dict()["labels"]
    assert [each["input"] for each in (first, second, third)] == pictures()
    assert [each["number"] for each in (first, second, third)] == [0, 1, 2]
    assert "photos/2.png is not an image" in second["error"]
    assert code == 1
    assert len(err) == 1
    assert err[0].startswith("perceiver run: photos/2.png is not an image")
    found = json.loads(out)
    assert (found["inputs"], found["failed"], found["skipped"]) == (3, 1, 0)
    code, out, err = run(capsys, bundle, "photos", "--jsonl", "a.jsonl")
    assert (code, "is already there" in err[0]) == (1, True)

    whole = Path("a.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    for left in (b"", lines[0], lines[0] + lines[1][:9], whole[:-1], whole):  # interrupted wherever
        Path("a.jsonl").write_bytes(left)
        code, out, err = run(capsys, bundle, "photos", "--jsonl", "a.jsonl", "--top-k", "2", "--resume", "--json")
        assert code == 1  # one of all failed
        assert json.loads(out)["skipped"] == left.count(b"\n")
        assert [{**each, "labels": 0} for each in read("a.jsonl")] == [{**json.loads(line), "labels": 0} for line in lines]

    Path("a.jsonl").write_bytes(lines[0])
    again = [bundle, "--jsonl", "a.jsonl", "--resume"]
    assert "was written with other options" in run(capsys, *again, "photos", "--top-k", "3")[2][0]
    other = Path(shutil.copytree(bundle, here / "other"))
    edit_manifest(other, tools={"x": "1"})
    assert "was written by another bundle" in run(capsys, other, *again[1:], "photos", "--top-k", "2")[2][0]
    assert (
        "has 'photos/1.png' as input 0, now it is 'photos/10.png'" in run(capsys, *again, "photos/10.png", "--top-k", "2")[2][0]
    )
    assert Path("a.jsonl").read_bytes() == lines[0]
    Path("a.jsonl").write_text("notes\n")
    assert "a.jsonl is no table of answers" in run(capsys, *again, "photos")[2][0]


def test_csv(shipped: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = shipped("image-classification")
    Path("list.txt").write_text("photos/1.png\n\nphotos/2.png\nphotos/10.png\n")
    assert run(capsys, bundle, "--from-file", "list.txt", "--csv", "a.csv")[0] == 1
    with open("a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == pictures()
    assert rows[0]["label"].isdigit()
    assert float(rows[0]["probability"]) > 0
    assert (rows[1]["label"], "is not an image" in rows[1]["error"]) == ("", True)
    whole = Path("a.csv").read_bytes()
    Path("a.csv").write_bytes(whole[: whole.rindex(b"photos/10") + 4])
    assert run(capsys, bundle, "--from-file", "list.txt", "--csv", "a.csv", "--resume")[0] == 1
    assert Path("a.csv").read_bytes() == whole
    Path("a.csv").write_text("number,input\n")
    assert "has other columns" in run(capsys, bundle, "--from-file", "list.txt", "--csv", "a.csv", "--resume")[2][0]


def test_csv_of_any_text(tmp_path: Path) -> None:
    texts = ['a "b"\nc', "d,e", "", "grün \ud800", '"']
    path = str(tmp_path / "a.csv")
    lines = Lines(path, "r", ["filled"], resume=False)
    for number, text in enumerate(texts):
        lines.write(number, text, {"filled": text * 2})
    lines.close()
    whole = Path(path).read_bytes()
    for length in range(len(whole) + 1):
        Path(path).write_bytes(whole[:length])
        lines = Lines(path, "r", ["filled"], resume=True)
        for number, text in enumerate(texts[len(lines.done) :], len(lines.done)):
            lines.write(number, text, {"filled": text * 2})
        lines.close()
        assert Path(path).read_bytes() == whole, length


def test_other_tasks(small_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pairs.txt").write_text("photos/1.png\tphotos/10.png\nphotos/1.png\n")
    assert run(capsys, small_bundle, "--from-file", "pairs.txt", "--jsonl", "a.jsonl")[0] == 1
    first, second = read("a.jsonl")
    with pr.load(small_bundle, task="flow") as flow:
        field = flow("photos/1.png", "photos/10.png")
    assert first["mean_length"] == pytest.approx(field.to_dict()["mean_length"])
    assert first["input"] == ["photos/1.png", "photos/10.png"]
    assert second["error"] == "line 2 of pairs.txt has 1 columns, expected frame1, frame2, with a tab between"


def test_texts_and_features(shipped: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("texts.txt").write_text("a bird\n\nto [MASK]\n")
    assert run(capsys, shipped("text-classification"), "--from-file", "texts.txt", "--jsonl", "a.jsonl", "--top-k", "1")[0] == 1
    first, second, third = read("a.jsonl")
    with pr.load(shipped("text-classification")) as classify:
        assert third["labels"] == classify("to [MASK]", top_k=1, plain=True).to_dict()["labels"]
    assert (first["input"], second["error"]) == ("a bird", "the text is empty: give at least one character")
    assert run(capsys, shipped("fill-mask"), "a small[MASK*5]", "no mask", "--csv", "a.csv")[0] == 1
    assert Path("a.csv").read_text().splitlines()[1].startswith("0,a small[MASK*5],")
    assert run(capsys, shipped("text-classification"), "a bird", "--jsonl", "b.jsonl", "--truncate")[0] == 0
    features = shipped("features")
    with pr.load(features) as pipeline:
        kind = pipeline.kind.name
    if kind == "frames":
        return
    good, bad = {"text": ("a bird", ""), "image": ("photos/1.png", "photos/2.png")}[kind]
    code, out, err = run(capsys, features, good, bad, good, "-o", "latents.npy", "--json")
    assert (code, len(err)) == (1, 1)
    found = json.loads(out)
    assert len(found["inputs"]) == 2
    assert np.load("latents.npy").shape == tuple(found["shape"])
    assert found["shape"][0] == 2
    assert run(capsys, features, good, bad, "--jsonl", "c.jsonl")[0] == 1
    assert np.allclose(read("c.jsonl")[0]["latents"], np.load("latents.npy")[0], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["photos", "--jsonl", "a", "--csv", "b"], 2, "give --jsonl FILE or --csv FILE, one of them"),
        (["--from-file", "list.txt"], 2, "give --jsonl FILE or --csv FILE"),
        (["photos", "--from-file", "a.txt", "--jsonl", "a.jsonl"], 2, "give inputs, or --from-file LIST"),
        (["photos", "photos", "--resume"], 2, "--resume goes on with a table"),
        (["--from-file", "gone.txt", "--jsonl", "a.jsonl"], 1, "gone.txt cannot be read: No such file"),
        (["photos", "--jsonl", "nowhere/a.jsonl"], 1, "there is no folder nowhere"),
        (["photos", "--jsonl", "photos", "--resume"], 1, "photos cannot be written: Is a directory"),
    ],
)
def test_refused(
    arguments: list[str], code: int, message: str, small_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, err = run(capsys, small_bundle, *arguments)
    assert (found, message in err[-1]) == (code, True), err


def test_a_full_disk(small_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, small_bundle, "photos/1.png\tphotos/10.png", "--jsonl", "/dev/full", "--force")
    assert (code, len(err)) == (1, 1)
    assert "/dev/full cannot be written: No space left on device" in err[0]


def test_the_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tally, "is_terminal", lambda stream: True)
    monkeypatch.setattr(tally, "_EVERY", 0)
    counted = tally.Tally(2, 4)
    with counted.bar():
        counted.count("a", None)
        counted.count("b", InputError("b is bad"))
    drawn = capsys.readouterr().err.split("\r\x1b[K")
    assert drawn[1].startswith(f"[{'#' * 18}{'.' * 6}] 3 of 4, ")
    assert drawn[2].endswith("0:00 left, 1 failed")
    assert drawn[-1] == ""
    assert counted.result() == {"inputs": 4, "skipped": 2, "failed": 1, "errors": [{"input": "b", "error": "b is bad"}]}


def test_tables_that_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image,label\na.png,x\n")
    assert list(table(path, ["image"], ["image"])) == [{"image": str(tmp_path / "a.png"), "label": "x"}]
    for content, message in (
        (b"a,b\n1,2\n", "has no column image: its first line should name them; found a, b"),
        (b"image,b\n1\n", "has a line, 2, with more or fewer"),
        (b"\xff", "is no CSV file in UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(pr.InputError, match=message):
            list(table(path, ["image"], ["image"]))
