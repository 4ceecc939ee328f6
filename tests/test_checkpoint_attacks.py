"""Attacks on what reads checkpoints, a file each in tests/attacks: exit code 1 and one printable line, soon."""

import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from conftest import HuggingFace
from test_attacks import loaded

from perceiver_deploy.cli import main as export
from perceiver_io import deepmind
from perceiver_io.printing import one_line
from perceiver_runtime.common import terminal

FOLDER = Path(__file__).parent / "attacks"
PICKLES, CONFIGS = (sorted((FOLDER / name).glob("*.py")) for name in ("pickles", "configs"))


def check(message: str, code: int, said: str, start: float) -> None:
    assert code == 1
    assert re.search(message, said), said
    assert len(said.splitlines()) == 1
    assert said.rstrip("\n").isprintable()
    assert len(said) < 1000
    assert time.process_time() - start < 20  # seconds


@pytest.mark.parametrize("path", PICKLES, ids=lambda path: path.stem)
def test_pickles(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module, start = loaded(path), time.process_time()
    module.attack(tmp_path / "file.pickle")
    arguments = ["x", str(tmp_path / "file.pickle"), "--model", "deepmind/language-perceiver", "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    check(module.MESSAGE, deepmind.main(), capsys.readouterr().err, start)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs(path: Path, tiny: HuggingFace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "checkpoint"))
    module, start = loaded(path), time.process_time()
    module.attack(folder)
    code = export(["--task", "flow", "--checkpoint", str(folder), "-o", str(tmp_path / "out")])
    check(module.MESSAGE, code, capsys.readouterr().err, start)
    assert not (tmp_path / "out").exists()


def test_both_packages_print_alike() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert one_line(everything) == terminal.one_line(everything)
