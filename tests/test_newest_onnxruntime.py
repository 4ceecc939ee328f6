"""The newest ONNX Runtime, which users get, beside the pinned one: every known answer, quick tests of the runtime, silence."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from shipped_tasks import TASKS
from test_telemetry import written

from perceiver_runtime.common.children import python_code, python_module

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
QUICK = ["test_manifest", "test_bundle", "test_attacks", "test_known_answer", "test_tiling"]  # those that need no torch
NEEDS_TORCH = "tests/test_bundle.py::test_what_is_in_it"


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment whose packages are the newest."""
    folder = tmp_path_factory.mktemp("newest") / "venv"
    subprocess.run([*python_module("venv"), folder], check=True)
    python = folder / "bin" / "python"
    install = [*python_module("pip", python), "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    subprocess.run([*install, f"{ROOT / 'runtime'}[cpu,images]", "pytest", "onnx"], check=True)
    return python


@pytest.mark.parametrize("task", TASKS)
def test_known_answers(task: str, newest: Path, shipped: Callable[..., Path], tmp_path: Path) -> None:
    """And nothing is written under the user's folders."""
    assert written(tmp_path / "home", newest.with_name("perceiver"), "verify", shipped(task)) == []


def test_int8(newest: Path, shipped: Callable[..., Path], tmp_path: Path) -> None:
    bundle = shipped("image-classification", precision="int8")
    assert written(tmp_path / "home", newest.with_name("perceiver"), "verify", bundle) == []


def test_the_runtimes_quick_tests(newest: Path) -> None:
    options = ["--noconftest", "-p", "aarch64.fixtures", "-p", "no:cacheprovider", "-q", "--deselect", NEEDS_TORCH]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [*python_module("pytest", newest), *options, *(f"tests/{name}.py" for name in QUICK)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_it_is_as_new_as_the_pinned_one(newest: Path) -> None:
    pinned = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("onnxruntime=="))
    code = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime; print(onnxruntime.__version__)"
    found = subprocess.run([*python_code(code, newest)], capture_output=True, text=True, check=True).stdout.strip()
    assert tuple(map(int, found.split("."))) >= tuple(map(int, pinned.partition("==")[2].split(".")))
