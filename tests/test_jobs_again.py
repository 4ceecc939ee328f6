"""Tables that are taken up again: what failed is tried again in its place, and one process writes a table at a time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from published import real_frames

import perceiver_runtime as pr
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import python_code
from perceiver_runtime.files.outputs import open_alone
from perceiver_runtime.tasks.jobs.lines import Lines

HOLD = """
from perceiver_runtime.files.outputs import open_alone
file = open_alone(sys.argv[1], keep=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pairs of pictures, of which the second has none yet."""
    monkeypatch.chdir(tmp_path)
    for name, frame in zip("ab", real_frames(40, 56)):
        Image.fromarray(frame).save(f"{name}.png")
    Path("list.txt").write_text("a.png\tb.png\na.png\tlate.png\nb.png\ta.png\nb.png\tgone.png\n")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], bundle: Path, *arguments: str) -> tuple[int, dict[str, Any], list[str]]:
    code = main(["run", str(bundle), "--from-file", "list.txt", "--json", *arguments])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err.splitlines()


@pytest.mark.parametrize("table", ["--jsonl", "--csv"])
def test_what_failed_is_tried_again(table: str, tiny_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = run(capsys, tiny_bundle, table, "t")
    assert (code, found["failed"]) == (1, 2)
    first = Path("t").read_bytes().splitlines()
    header = int(table == "--csv")
    Path("t").write_bytes(b"\n".join(first[: 2 + header]) + b"\n" + first[2 + header][:9])  # interrupted in the third
    os.link("t", "old")
    Path("late.png").write_bytes(Path("b.png").read_bytes())
    code, found, err = run(capsys, tiny_bundle, table, "t", "--resume")
    assert (code, found["skipped"], found["failed"]) == (1, 2, 1)
    assert "t holds 1 inputs that failed before" in err[0]
    code, found, err = run(capsys, tiny_bundle, table, "t", "--retry-failed", "--batch", "2")
    assert (code, found["inputs"], found["skipped"], found["failed"]) == (1, 4, 2, 1)  # gone.png is still gone
    assert len(err) == 1
    assert "gone.png" in err[0]
    lines = Path("t").read_bytes().splitlines()
    for number in (0, 2, 3):
        assert lines[number + header] == first[number + header]  # in their places, as they were
    again = lines[1 + header]
    assert b"late.png" in again
    assert b"No such file" not in again
    assert sorted(os.listdir(".")) == ["a.png", "b.png", "late.png", "list.txt", "old", "t"]
    Path("gone.png").write_bytes(Path("b.png").read_bytes())
    assert run(capsys, tiny_bundle, table, "t", "--retry-failed")[0] == 0
    assert run(capsys, tiny_bundle, table, "t", "--retry-failed")[1]["skipped"] == 4


def test_interrupted_while_trying_again(tmp_path: Path) -> None:
    """The table is as it was until all were tried."""
    path = str(tmp_path / "t")
    lines = Lines(path, "r", None, resume=False)
    for number, answer in enumerate(({"error": "bad"}, {"x": 1}, {"error": "bad"})):
        lines.write(number, str(number), answer)
    lines.close()
    whole = Path(path).read_bytes()

    def answers() -> Iterator[tuple[str, dict[str, Any]]]:
        yield "0", {"x": 0}
        raise KeyboardInterrupt

    lines = Lines(path, "r", None, resume=True)
    assert lines.failed == [0, 2]
    with pytest.raises(KeyboardInterrupt):
        lines.replace_failed(answers())
    lines.close()
    assert Path(path).read_bytes() == whole
    assert os.listdir(tmp_path) == ["t"]


def test_one_process_at_a_time(tiny_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, tiny_bundle, "--jsonl", "t")[0] == 1
    whole = Path("t").read_bytes()
    with subprocess.Popen([*python_code(HOLD), "t"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for option in ("--resume", "--force", "--retry-failed"):
            code, found, _ = run(capsys, tiny_bundle, "--jsonl", "t", option)
            assert (code, found["error"]) == (1, "t is being written by another process: wait for it, or give another name")
        assert Path("t").read_bytes() == whole
        other.communicate("")
    assert run(capsys, tiny_bundle, "--jsonl", "t", "--resume")[1]["skipped"] == 4


def test_a_table_that_was_renamed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opened the old file just before takes the new one."""
    path = tmp_path / "t"
    path.write_bytes(b"old")
    real = os.stat

    def renamed(name: Any, *more: Any, **options: Any) -> os.stat_result:
        if path.read_bytes() == b"old":
            (tmp_path / "new").write_bytes(b"new")
            os.replace(tmp_path / "new", path)
        return real(name, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr("perceiver_runtime.files.outputs.os.stat", renamed)
        file = open_alone(str(path), keep=True)
    assert file.read() == b"new"
    with pytest.raises(pr.InputError, match="is being written by another process"):
        open_alone(str(path), keep=True)
    file.close()
    open_alone(str(path), keep=False).close()
    assert path.read_bytes() == b""


def test_no_table(tiny_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tiny_bundle), "a.png", "b.png", "--retry-failed"]) == 2
    assert "--resume goes on with a table: add --jsonl FILE or --csv FILE" in capsys.readouterr().err
