"""The job of examples/ray_table.py on one machine: interrupted, continued, corrected, refused."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.children import python_code

ROOT = Path(__file__).parent.parent
JOB = ROOT / "examples" / "ray_table.py"
KILLER = """
import os
if "PERCEIVER_KILLER" in os.environ:
    import PIL.Image
    opened = PIL.Image.open
    def open(file, *rest, **options):
        if str(getattr(file, "name", file)).endswith(os.environ["PERCEIVER_KILLER"]):
            os.kill(os.getpid(), 9)
        return opened(file, *rest, **options)
    PIL.Image.open = open
"""


def digits(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        save(folder / f"{number}.png", number)
    return folder


def save(path: Path, number: int) -> None:
    pixels = load_digits().images[number] * 255 / 16
    Image.fromarray(np.repeat(np.repeat(pixels, 4, 0), 4, 1).astype(np.uint8)).save(path)


def calls(python: Path, *commands: list[object], **environment: str) -> list[dict[str, Any]]:
    """What main() made of each command, in one process."""
    done = subprocess.run(
        [python, ROOT / "tests" / "ray_calls.py"],
        input=json.dumps([list(map(str, command)) for command in commands]),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def interrupted(python: Path, number: signal.Signals, *command: object) -> subprocess.CompletedProcess[str]:
    """The job, and a signal to it when it has written two files more."""
    folder = Path(str(command[2]))
    before = len(list(folder.glob("*.parquet")))
    arguments = [python, JOB, *command, "--batch-size", "2", "--save-every", "0.05"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background of a shell script ignore Ctrl-C
    job = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    end = time.monotonic() + 200
    while len(list(folder.glob("*.parquet"))) < before + 2 and job.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    job.send_signal(number)
    out, err = job.communicate(timeout=100)
    return subprocess.CompletedProcess(job.args, job.returncode, out, err)


def by_id(call: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in call["rows"]}


def test_one_cpu_killed_interrupted_and_finished(ray_python: Path, shipped: Callable[..., Path], tmp_path: Path) -> None:
    """With one actor of one CPU, and nothing besides, the same command goes on, and is done at once when all is done."""
    job = [shipped("image-classification"), digits(tmp_path / "digits", 300), tmp_path / "out"]
    assert interrupted(ray_python, signal.SIGKILL, *job).returncode == -signal.SIGKILL
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        stopped = interrupted(ray_python, number, *job)
        assert stopped.returncode == code, stopped.stderr
        lines = [line for line in stopped.stderr.splitlines() if "ray_table.py" in line]
        assert len(lines) == 1
        assert f"what was answered is in {job[2]}: the same command does the rest" in lines[0]
        assert "Traceback" not in stopped.stderr
    files = {path.name: path.stat().st_mtime_ns for path in job[2].glob("*.parquet")}
    (rest,) = calls(ray_python, job)
    assert (rest["code"], len(rest["rows"]), len(by_id(rest))) == (0, 300, 300), rest["err"]
    assert {path.name: path.stat().st_mtime_ns for path in job[2].glob("*.parquet")}.items() >= files.items()
    (again,) = calls(ray_python, job)
    assert (again["code"], again["rows"]) == (0, rest["rows"])
    assert not again["ray"]  # nothing to do: Ray is not started


def test_a_row_that_kills_stale_answers_and_errors(ray_python: Path, shipped: Callable[..., Path], tmp_path: Path) -> None:
    bundle, source = shipped("image-classification"), digits(tmp_path / "digits", 24)
    (source / "3.png").write_bytes(b"\x89PNG nothing more")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLER)
    job = [bundle, source, tmp_path / "out", "--actors", "2"]
    killing = {"PERCEIVER_KILLER": "/4.png", "PYTHONPATH": str(tmp_path / "site")}
    (first,) = calls(ray_python, job, **killing)
    assert first["code"] == 0, first["err"]
    rows = by_id(first)
    assert len(rows) == len(first["rows"]) == 24
    assert {name for name, row in rows.items() if row["error"]} == {"3.png", "4.png"}
    assert rows["4.png"]["error"].startswith("given up after 3 tries: the process that ran it died")
    assert "4.png: given up after 3 tries" in first["out"]
    assert {row["manifest_sha256"] for row in rows.values()} == {open_bundle(bundle).manifest_sha256}
    assert [rows[f"{number}.png"]["label"] for number in (0, 1, 2)] == ["0", "1", "2"]

    assert rows["5.png"]["label"] == "5"
    save(source / "5.png", 7)  # repaired, so to say
    shutil.copytree(bundle, tmp_path / "copy")
    other = shipped("image-classification", precision="fp16")
    changed, refused, tried, copied, fresh = calls(
        ray_python, job, [other, *job[1:]], [*job, "--retry-errors", "--fail-on-errors"], [tmp_path / "copy", *job[1:]],
        [other, *job[1:], "--fresh", "--batch-size", "1"],
    )  # fmt: skip
    assert changed["code"] == 0
    assert "1 inputs have changed since they were answered: they are answered again" in changed["err"]
    after = by_id(changed)
    assert (len(changed["rows"]), after["5.png"]["label"]) == (24, "7")
    assert {name for name, row in after.items() if row != rows[name]} == {"5.png"}  # errors stay
    assert refused["code"] == 1
    assert "out holds answers of another bundle: give another folder, or --fresh to remove them" in refused["err"]
    assert refused["rows"] == changed["rows"]
    assert tried["code"] == 1  # 3.png, still
    assert {name: row["label"] for name, row in by_id(tried).items() if name in ("3.png", "4.png")} == {
        "3.png": None,
        "4.png": "4",
    }
    assert (copied["code"], copied["rows"]) == (0, tried["rows"])  # the same bundle, elsewhere
    assert fresh["code"] == 0
    assert {row["manifest_sha256"] for row in fresh["rows"]} == {open_bundle(other).manifest_sha256}
    assert len(fresh["rows"]) == 24
    assert fresh["files"] < 12  # of 24 calls: files are as large as some seconds make them


MAKE_TABLES = """
import pathlib, sys, pyarrow, pyarrow.parquet
folder = pathlib.Path(sys.argv[1])
png = [(folder / "images" / f"{n}.png").read_bytes() for n in range(3)]
def save(name, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{name}.parquet")
save("bytes", id=[5, 6, 7], image=png, note=["a", None, "c"])
save("hub", id=["a", "b", "c"], image=[{"bytes": each, "path": "x.png"} for each in png])
save("texts", id=["a", "b", "c"], text=["a small bird", None, "to walk slowly"])
save("numbers", id=["a"], text=[7])
save("twice", id=["a", "b", "a"], text=["x", "y", "z"])
save("null", id=["a", None], text=["x", "y"])
save("label", id=["a"], text=["x"], label=["truth"])
save("noid", text=["x"])
save("empty", id=pyarrow.array([], pyarrow.string()), text=pyarrow.array([], pyarrow.string()))
save("theirs/answers", id=["a"], label=["x"])
"""


@pytest.fixture(scope="module")
def tables(ray_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    digits(folder / "images", 3)
    (folder / "theirs").mkdir()
    subprocess.run([*python_code(MAKE_TABLES, ray_python), folder], check=True)
    (folder / "names.csv").write_text(
        f"id,image,note\n007,images/0.png,\n8,images/gone.png,x\n9,file://{folder}/images/1.png,y\n"
    )
    (folder / "wrong.csv").write_text("id,picture\n1,a.png\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 nothing more")
    return folder


def test_tables(ray_python: Path, shipped: Callable[..., Path], tables: Path, tmp_path: Path) -> None:
    """Pictures as bytes, names in CSV, texts; a null is an error, not the text None."""
    image, text = shipped("image-classification"), shipped("text-classification")
    found = calls(
        ray_python,
        [image, tables / "bytes.parquet", tmp_path / "bytes"],
        [image, f"file://{tables}/hub.parquet", tmp_path / "hub"],  # an address, as s3:// is
        [image, tables / "names.csv", tmp_path / "csv"],
        *([text, tables / f"{name}.parquet", tmp_path / name, "--fail-on-errors"] for name in ("texts", "numbers")),
    )
    assert [call["code"] for call in found] == [0, 0, 0, 1, 1], [call["err"] for call in found]
    given, hub, names, texts, numbers = map(by_id, found)
    assert [(key, row["label"], row["note"]) for key, row in sorted(given.items())] == [
        (5, "0", "a"),
        (6, "1", None),
        (7, "2", "c"),
    ]
    assert "image" not in given[5]
    assert [row["label"] for _, row in sorted(hub.items())] == ["0", "1", "2"]
    assert names["007"]["label"] == "0"
    assert "gone.png" in names["8"]["error"]
    assert (names["9"]["label"], names["9"]["error"]) == ("1", "")  # by address
    assert (texts["a"]["error"], texts["b"]["label"]) == ("", None)
    assert texts["b"]["error"] == "the column text holds no text: the value is missing"
    assert numbers["a"]["error"] == "the column text holds int: give texts"


def test_refused(ray_python: Path, shipped: Callable[..., Path], tables: Path, tmp_path: Path) -> None:
    """One sentence each, before Ray starts, and the exit code of its kind."""
    text, image = shipped("text-classification"), shipped("image-classification")
    cases: list[tuple[list[object], int, str]] = [
        ([image, tables / "wrong.csv"], 1, "has no column image: the bundle reads id, image; found id, picture"),
        ([text, tables / "noid.parquet"], 1, "has no column id: the bundle reads id, text; found text"),
        ([text, tables / "twice.parquet"], 1, "has the id a twice: give each row its own"),
        ([text, tables / "null.parquet"], 1, "row 2 of"),
        ([text, tables / "label.parquet"], 1, "has a column label, which answers would replace: rename it first"),
        ([text, tables / "empty.parquet"], 1, "holds no rows: there is nothing to do"),
        ([text, tables / "broken.parquet"], 1, "is no Parquet file that can be read"),
        ([text, tables / "gone.parquet"], 1, "there is no file"),
        ([text, tables / "images"], 1, "holds no files that end in .txt: there is nothing to do"),
        ([text, "https://example.org/texts.parquet"], 1, "is an address of the web: download it first"),
        ([text, "none://bucket/texts.parquet"], 1, "cannot be read (Unrecognized filesystem type in URI"),
        (
            [text, "s3://bucket/t.parquet?endpoint_override=127.0.0.1:9&scheme=http&region=x"],
            1,
            "check the address, credentials",
        ),
        ([tables / "gone", tables / "images"], 1, "there is no bundle at"),
    ]
    found = calls(ray_python, *([*given, tmp_path / "out"] for given, _, _ in cases))
    for (_, code, message), call in zip(cases, found):
        assert (call["code"], message in call["err"]) == (code, True), (message, call)
        assert call["err"].count("\n") == 1, call["err"]
        assert not call["ray"]
    assert not list((tmp_path / "out").glob("*"))
    last = calls(
        ray_python,
        [text, tables / "texts.parquet", tables / "theirs"],
        [text, tables / "texts.parquet", tables / "theirs", "--fresh"],
        [text, tables / "texts.parquet", "s3://bucket/answers"],
        [text, tables / "texts.parquet", tmp_path / "out", "--address", "127.0.0.1:1"],
        [text, tables / "texts.parquet", tmp_path / "out", "--actors", "0"],
        [text, f"file://{tables}/images", tmp_path / "out"],
    )
    assert [call["code"] for call in last] == [1, 1, 2, 5, 2, 1]
    for call in last[:2]:
        assert "was not written by a job of this version: give another folder for the answers" in call["err"]
    assert (tables / "theirs" / "answers.parquet").exists()
    assert "is an address: give a folder for the answers" in last[2]["err"]
    assert "no Ray cluster is at 127.0.0.1:1" in last[3]["err"]
    assert "/images holds no files that end in .txt" in last[5]["err"]
