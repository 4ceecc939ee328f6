"""No Python that we start runs what lies in the current folder: each is started among files named as modules that it needs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perceiver_runtime.backends import cuda
from perceiver_runtime.commands import doctor
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import own_module, python_code, python_module

ROOT = Path(__file__).parent.parent
NAMES = ["queue", "random", "types", "numpy", "json", "enum", "runpy", "tempfile", "perceiver_runtime", "ray"]
TRAP = """
with open({mark!r}, "a") as file:
    file.write(__name__ + "\\n")
raise SystemExit("code of the current folder")
"""


class Traps:
    """A folder of files that say that they were run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._mark = folder, folder.with_name(f"{folder.name}.ran")
        folder.mkdir(exist_ok=True)
        for name in NAMES:
            (folder / f"{name}.py").write_text(TRAP.format(mark=str(self._mark)))

    def ran(self) -> list[str]:
        return sorted(set(self._mark.read_text().split())) if self._mark.exists() else []

    def run(self, *command: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command, in the folder."""
        whole = {**os.environ, **environment}
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=self.folder, env=whole)


@pytest.fixture
def traps(tmp_path: Path) -> Traps:
    return Traps(tmp_path / "download")


def test_they_would_be_run(traps: Traps) -> None:
    """By Python's own rules: else the other tests would show nothing."""
    traps.run(sys.executable, "-m", "perceiver_runtime", "--version")
    assert traps.ran() != []
    again = Traps(traps.folder.with_name("again"))
    again.run(sys.executable, "-c", "import queue")
    assert again.ran() == ["queue"]


def test_modules_and_code(traps: Traps, tiny_bundle: Path) -> None:
    done = traps.run(*python_module("perceiver_runtime"), "verify", tiny_bundle)
    assert (done.returncode, traps.ran()) == (0, []), done.stderr
    done = traps.run(*python_code("import queue, random, types, numpy; print(sys.argv[1:])"), "a", "b c")
    assert (done.stdout, done.returncode, traps.ran()) == ("['a', 'b c']\n", 0, [])
    assert traps.run(*python_module("platform"), "--terse").stdout.startswith("Linux")


def test_own_module(traps: Traps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the current folder nor a checkpoint's, though they are on this process's own path and in PYTHONPATH."""
    checkpoint = Traps(tmp_path / "checkpoint")
    monkeypatch.chdir(traps.folder)
    monkeypatch.setattr(sys, "path", [str(checkpoint.folder), str(traps.folder), "", *sys.path])
    command = own_module("perceiver_runtime", never=[checkpoint.folder])
    done = traps.run(*command, "--version", PYTHONPATH=f":{checkpoint.folder}")
    assert (done.returncode, traps.ran(), checkpoint.ran()) == (0, [], []), done.stderr


def test_limits_hold_before_anything_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tells.py").write_text("import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE), __name__)\n")
    monkeypatch.syspath_prepend(tmp_path)
    command = own_module("tells", limits={"RLIMIT_CORE": (0, 0), "RLIMIT_NOFILE": (10**9, 10**9)})
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(0, 0) __main__\n", "")


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_every_python(version: str, traps: Traps) -> None:
    from test_clean_room import interpreter

    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    assert traps.run(*python_code("import queue, random, types; print(1)", python)).stdout == "1\n"
    assert "usage" in traps.run(*python_module("venv", python), "--help").stdout
    assert traps.ran() == []


def test_commands(traps: Traps, tiny_bundle: Path) -> None:
    """What pip makes of our commands does not look there."""
    perceiver = Path(sys.executable).with_name("perceiver")
    for command in (["verify", tiny_bundle], ["doctor", tiny_bundle], ["run", tiny_bundle, "--sample"], ["--version"]):
        done = traps.run(perceiver, *command)
        assert (done.returncode, traps.ran()) == (0, []), done.stderr
    done = traps.run(perceiver.with_name("perceiver-export"), "--list-tasks")
    assert (done.returncode, traps.ran()) == (0, []), done.stderr


def test_tritons_worker(traps: Traps, tiny_bundle: Path, tmp_path: Path) -> None:
    """As Triton's Python backend does: the current folder first, the model's folders last, then `1.model`."""
    repository = tmp_path / "models"
    assert main(["triton", str(tiny_bundle), "-o", str(repository), "--name", "flow", "--backend", "python"]) == 0
    model = repository / "flow_encode"
    code = (
        f"import sys, importlib\nsys.path.insert(0, '')\nsys.path += [{str(model / '1')!r}, {str(model)!r}]\n"
        "print(importlib.import_module('1.model').TritonPythonModel.__name__)"
    )
    done = traps.run(*python_code(code))
    assert (done.stdout, traps.ran()) == ("TritonPythonModel\n", []), done.stderr


def test_benchmarks(traps: Traps, tiny_bundle: Path) -> None:
    done = traps.run(sys.executable, ROOT / "benchmarks" / "cold_start.py", tiny_bundle, "--runs", "1")
    assert (done.returncode, traps.ran()) == (0, []), done.stderr


def test_programs_of_the_current_folder_are_not_run(traps: Traps, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty entry of PATH is the current folder."""
    tool = traps.folder / "nvpmodel"
    tool.write_text("#!/bin/sh\necho code of the current folder\n")
    tool.chmod(0o755)
    monkeypatch.chdir(traps.folder)
    for path in ("", ":/bin", ".:/bin"):
        monkeypatch.setenv("PATH", path)
        assert doctor.power_mode() == "no nvpmodel here"


def test_libraries_of_the_current_folder_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert not any(path.startswith("nvidia") for path in cuda._candidates())
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert str(library) in cuda._candidates()


def lines(*patterns: str) -> list[tuple[Path, str]]:
    files = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return [(path, line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def test_nobody_starts_python_otherwise() -> None:
    """-m and -c are for perceiver_runtime.common.children alone; the emulator's launcher reads them."""
    own = {Path(__file__), ROOT / "runtime/perceiver_runtime/common/children.py", ROOT / "tests/aarch64/launcher.py"}
    found = lines(
        "runtime/perceiver_runtime/**/*.py",
        "benchmarks/*.py",
        "examples/*.py",
        "tests/**/*.py",
        "models/**/*.py",
        "exporters/**/*.py",
        "perceiver_deploy/**/*.py",
    )
    wrong = [(path, line) for path, line in found if path not in own and re.search(r'[\[,] ?"-[mc]", ?[^"h]', line)]
    assert [each for each in wrong if "add_argument" not in each[1]] == []
    for _, line in lines("Makefile"):
        assert "PYTHONSAFEPATH=1" in line or not re.search(r"(python|PYTHON\)) -[mc]", line), line
