"""Text from outside on a terminal: shown, never obeyed; JSON is valid whatever is in it."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from forgery import edit_manifest, reseal

from perceiver_runtime.bundle.manifest import Manifest, Source
from perceiver_runtime.commands.main import main
from perceiver_runtime.commands.sample_inputs import sample_inputs
from perceiver_runtime.common.children import python_module
from perceiver_runtime.common.terminal import is_terminal, json_text, one_line, printable, shown, write_lines

EVIL = "mit\x1b[1A\x1b[2Ksource weights sha256 " + "0" * 64 + "\n\x1b]52;c;aGk=\x07\u202egnp.exe\x9b2J\u2028"


@pytest.mark.parametrize("text", ["a b", "東 é\u00a0x", "\u0646\u200c\u0645", "a\\b"])
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


def test_what_a_terminal_obeys_is_escaped() -> None:
    assert printable("\x1b\x9b\x07\n\r\u202e\u2066\u200b\ud800\U000e0041") == (
        r"\x1b\x9b\x07\n\r\u202e\u2066\u200b\ud800\U000e0041"
    )
    assert one_line("a\r\nb\u2028c") == "a b c"
    assert shown({"a\n": ["b\x1b", ("c\x07", 1)]}) == {r"a\n": [r"b\x1b", [r"c\x07", 1]]}


def test_json_is_valid() -> None:
    assert json.loads(json_text({"a": [float("nan"), -float("inf"), 1.5], "b": EVIL})) == {"a": [None, None, 1.5], "b": EVIL}


def test_a_terminal_of_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write_lines("é東", stream)
    stream.seek(0)
    assert stream.read() == "\\xe9\\u6771\n"


def test_a_forged_sum_does_not_show(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    source = Manifest.from_json((bundle / "manifest.json").read_bytes()).source
    edit_manifest(bundle, source=Source(EVIL, source.sha256, EVIL, EVIL), choices={"passes": {EVIL: {EVIL: 1}}})
    assert main(["inspect", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert all(character == "\n" or character.isprintable() for character in out)
    assert sum(line.startswith("source weights sha256") for line in out.splitlines()) == 1
    assert main(["inspect", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["license"] == EVIL
    assert main(["inspect", str(tmp_path / "\x1b[2J\u202e")]) == 1
    assert r"\x1b[2J\u202e" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["inspect", str(bundle), "\x1b[2J"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "choices",
    [
        {"memory": {"weights": 1, "encode": 1, "kept": 1, "decoders": {"decode": [1]}}},
        {"memory": {"weights": 1.5, "encode": 1, "kept": 1, "decoders": {}}},
        {"memory": []},
        {"cost": {"sizes": {"B": "x"}, "graphs": {}}},
        {"passes": {"encode": 1}},
        {"attention": {"encode": [{"fuses": 1, "score_bytes": 1}]}},
        {"memory_budget": -1},
    ],
)
def test_misplaced_choices_are_refused(choices: dict[str, object], tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    edit_manifest(bundle, choices=choices)
    for command in ("inspect", "verify", "bench"):
        assert main([command, str(bundle)]) == 4


@pytest.mark.parametrize("text", ["--help", "-", "--", "-o"])
def test_a_sample_text_is_never_an_option(text: str, tiny_bundle: Path, tmp_path: Path) -> None:
    import numpy as np

    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    np.savez(tmp_path / "s.npz", **{"input.text": np.frombuffer(text.encode(), np.uint8), "output.logits": np.zeros(1)})
    reseal(bundle, "sample.npz", (tmp_path / "s.npz").read_bytes())
    for command in ("run", "bench"):
        assert main([command, str(bundle), *(["--sample"] if command == "run" else [])]) == 4  # it lacks frames
    edit_manifest(bundle, task="fill-mask")
    with sample_inputs(str(bundle)) as inputs:
        assert inputs == ["--", text]


def test_help_on_a_terminal_of_ascii_and_without_one() -> None:
    for program in ("perceiver_runtime", "perceiver_deploy.cli"):
        command = [*python_module(program), *(["triton"] if program == "perceiver_runtime" else []), "--help"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "usage:" in done.stdout
    assert not is_terminal(None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("program", ["perceiver_runtime", "perceiver_deploy.cli"])
@pytest.mark.parametrize("unwanted", ["/dev/full", "a closed pipe"])
def test_an_output_that_takes_nothing(program: str, unwanted: str, tiny_bundle: Path) -> None:
    command = [*python_module(program), *(["--list-tasks"] if "cli" in program else ["inspect", str(tiny_bundle)])]
    if unwanted == "/dev/full":
        with open(unwanted, "w") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "standard output: No space left on device" in done.stderr
    else:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, "")
