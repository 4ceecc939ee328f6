"""The runtime's wheel, and the one made of its source distribution, on other Pythons with numpy and onnxruntime alone."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from published import real_frames

from perceiver_runtime.common.children import python_code, python_module

ROOT = Path(__file__).parent.parent
ROOMS = {  # by Python: the lowest that is supported, and the newest
    "3.10": ["numpy==1.21.6", "onnxruntime==1.20.1"],
    "3.12": ["numpy", "onnxruntime"],
    "3.13": ["numpy", "onnxruntime"],
}
IMPORT_ALL = """
import importlib, pkgutil, sys, perceiver_runtime
for module in pkgutil.walk_packages(perceiver_runtime.__path__, "perceiver_runtime."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sorted({"torch", "onnx", "PIL", "transformers", "safetensors", "onnxruntime"} & set(sys.modules)))
"""
COMMANDS = ["run", "inspect", "verify", "bench", "build", "doctor"]


def interpreter(version: str) -> Path | None:
    """This machine's Python of a version, where it has one."""
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for found in (shutil.which(f"python{version}"), *sorted(installed.glob(f"{version}.*/bin/python"))):
        if found and subprocess.run([*python_code("import venv", found)], capture_output=True, check=False).returncode == 0:
            return Path(found)
    return None


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runtime as a wheel and as a source distribution, built from a copy."""
    folder = tmp_path_factory.mktemp("distributions")
    source = shutil.copytree(ROOT / "runtime", folder / "runtime", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    subprocess.run([*python_module("build"), "--outdir", folder / "dist", source], check=True, capture_output=True)
    (wheel,), (sdist,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def test_the_exporter_s_wheel_has_every_file(tmp_path: Path) -> None:
    """Of the tools: modules, checkpoints, samples."""
    folders = {"perceiver_deploy": "", "perceiver_export": "exporters", "perceiver_io": "models"}
    leave = shutil.ignore_patterns("__pycache__")
    for name, parent in folders.items():
        shutil.copytree(ROOT / parent / name, tmp_path / "source" / parent / name, ignore=leave)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    expected = {
        path.relative_to(tmp_path / "source" / parent).as_posix()
        for name, parent in folders.items()
        for path in (tmp_path / "source" / parent / name).rglob("*")
        if path.is_file()
    }
    build = [*python_module("build"), "--wheel", "--outdir", tmp_path / "dist", tmp_path / "source"]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        assert {name for name in files.namelist() if ".dist-info/" not in name} == expected


@pytest.fixture(scope="module", params=ROOMS)
def room(request: pytest.FixtureRequest, distributions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of such an environment."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"there is no Python {request.param} here")
    folder = tmp_path_factory.mktemp("room") / "venv"
    subprocess.run([*python_module("venv", python), folder], check=True)
    pip = [*python_module("pip", folder / "bin" / "python"), "install", "--quiet", "--disable-pip-version-check"]
    built = distributions["sdist" if request.param == "3.12" else "wheel"]
    subprocess.run([*pip, *ROOMS[request.param], built], check=True)
    return folder / "bin"


def said(*command: object, code: int = 0) -> str:
    """What a command prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_everything_imports_and_helps(room: Path) -> None:
    assert said(room / "python", "-W", "error", *python_code(IMPORT_ALL)[1:]).strip() == "[]"
    assert "usage: perceiver" in said(room / "perceiver", "-h")
    for command in COMMANDS:
        assert f"usage: perceiver {command}" in said(room / "perceiver", command, "-h")


def test_a_bundle_runs(room: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    assert "known answer right on CPUExecutionProvider" in said(room / "perceiver", "verify", tiny_bundle)
    for name, frame in zip("ab", real_frames(40, 56)):
        np.save(tmp_path / f"{name}.npy", frame)
    frames = (tmp_path / "a.npy", tmp_path / "b.npy")
    said(room / "perceiver", "run", tiny_bundle, *frames, "--flo", tmp_path / "motion.flo")
    assert (tmp_path / "motion.flo").stat().st_size == 12 + 40 * 56 * 8
    assert "pip install 'perceiver-runtime[images]'" in said(
        room / "perceiver", "run", tiny_bundle, *frames, "-o", tmp_path / "motion.png", code=5
    )
    assert "perceiver-runtime" in said(room / "perceiver", "doctor", tiny_bundle)
