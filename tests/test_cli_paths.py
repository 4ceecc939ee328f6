"""Names that people give commands: one sentence and the documented code, never a traceback, and nothing lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import perceiver_runtime as pr
from perceiver_deploy.cli import main as export
from perceiver_runtime.commands.main import main
from perceiver_runtime.files.outputs import replacing

ODD = [
    "missing.png",
    "folder",
    ".",
    "x" * 5000,
    "n\udcffame.png",
    "/dev/null",
    "loop",
    "a.png/b",
    "/dev/full",
    "empty",
    "broken.png",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Image.fromarray(np.full((40, 50, 3), ord(name), np.uint8)).save(f"{name}.png")
    Path("broken.png").write_bytes(b"\x89PNG nothing")
    Path("empty").touch()
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int], *arguments: str) -> tuple[int, str, list[str]]:
    """The code, standard output, and the lines on standard error."""
    try:
        code = command(list(arguments))
    except SystemExit as error:  # argparse's
        code = int(str(error.code))
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


def test_one_bad_picture_among_three(shipped: Callable[..., Path], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(shipped("image-classification"))
    with pr.load(bundle) as classify:
        expected = [classify(np.asarray(Image.open(f"{name}.png")), top_k=1)[0].probability for name in "ab"]
    for options in ([], ["--batch", "3"]):
        code, out, err = run(capsys, main, "run", bundle, "a.png", "broken.png", "b.png", "--json", *options)
        found = json.loads(out)
        assert code == 1
        assert [each["input"] for each in found["results"]] == ["a.png", "b.png"]
        assert [each["labels"][0]["probability"] for each in found["results"]] == pytest.approx(expected, rel=1e-4)
        assert [each["input"] for each in found["errors"]] == ["broken.png"]
        (line,) = err
        assert line.startswith("perceiver run: broken.png is not an image that can be read")
    code, out, err = run(capsys, main, "run", bundle, "broken.png", "missing.png")
    assert (code, len(err)) == (1, 2)
    np.save("odd.npy", np.zeros((4, 4, 9), np.uint8))
    code, out, err = run(capsys, main, "run", bundle, "a.png", "odd.npy", "b.png", "--batch", "3")
    assert (code, len(err), out.count(".png")) == (1, 1, 2)
    assert "odd.npy" in err[0]
    assert run(capsys, main, "run", bundle, "a.png", "b.png")[0] == 0


def test_one_bad_text_among_three(shipped: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, main, "run", str(shipped("text-classification")), "a bird", "", "to walk", "--json")
    assert (code, err) == (1, ["perceiver run: text 2 of 3: the text is empty: give at least one character"])
    assert [each["input"] for each in json.loads(out)["results"]] == ["a bird", "to walk"]
    code, out, err = run(capsys, main, "run", str(shipped("fill-mask")), "a bir[MASK]", "no mask")
    assert code == 1
    assert "a bir[MASK]" in out
    assert err[0].startswith("perceiver run: text 2 of 2: the text has no mask")
    code, out, err = run(capsys, main, "run", str(shipped("fill-mask")), "a[MASK]", "b[MASK]", "--beams", "2")
    assert (code, out, len(err)) == (1, "", 1)  # the same is wrong with all
    assert "beams is 2" in err[0]


@pytest.mark.parametrize("name", ODD)
def test_odd_names(name: str, small_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(small_bundle)
    outputs = [["-o", name], ["--flo", name], ["--force", "-o", name], ["--force", "--flo", name]]
    commands = [
        ["run", bundle, name, "a.png"],
        ["run", name, "a.png"],
        *(["run", bundle, "a.png", "b.png", *each] for each in outputs),
    ]
    commands += [[command, name] for command in ("inspect", "verify", "bench", "build")]
    commands += [["triton", name, "-o", "models"], ["triton", bundle, "-o", name]]
    for command in commands:
        code, _, err = run(capsys, main, *command)
        assert code in (0, 1, 2, 4, 5), command
        assert (code == 0) == (not err), command
    for arguments in (["--checkpoint", name], ["--task", "flow", "--samples", name, "-o", "new"], ["--task", name]):
        code, _, err = run(capsys, export, *arguments)
        assert code in (1, 2), arguments
        assert err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "BUNDLE", "a.png", "b.png", "-o", ""],
        ["run", "BUNDLE", "a.png", "b.png", "--flo", ""],
        ["run", "BUNDLE", "", "b.png"],
        ["verify", ""],
        ["triton", "BUNDLE", "-o", ""],
        ["triton", "BUNDLE", "-o", "models", "--name", ""],
    ],
)
def test_an_empty_name_is_no_default(
    arguments: list[str], small_bundle: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a variable that is not set: nothing else is taken in its place."""
    before = sorted(here.iterdir())
    code, out, err = run(capsys, main, *(str(small_bundle) if each == "BUNDLE" else each for each in arguments))
    assert (code, out) == (2, "")
    assert "is empty: give a name, or leave the option out" in err[-1]
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("option", ["--checkpoint", "--output", "--samples", "--revision", "--task"])
def test_an_empty_name_exports_nothing(option: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, export, "--task", "flow", "-o", "new", option, "")
    assert (code, out) == (2, "")
    assert f"{option.strip('-')} is empty" in err[-1]


def test_a_circle_of_links(here: Path) -> None:
    with pytest.raises(pr.InputError, match=r"loop.* cannot be written"), replacing("loop/x.flo"):
        pass
