"""Imports go one way, and the runtime's import brings numpy and the standard library alone."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from perceiver_runtime.common.children import python_code

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "perceiver_io": ROOT / "models/perceiver_io",
    "perceiver_export": ROOT / "exporters/perceiver_export",
    "perceiver_runtime": ROOT / "runtime/perceiver_runtime",
    "perceiver_deploy": ROOT / "perceiver_deploy",
}
MAY_IMPORT = {
    "perceiver_io": {"perceiver_io"},
    "perceiver_export": {"perceiver_export", "perceiver_io"},
    "perceiver_runtime": {"perceiver_runtime"},
    "perceiver_deploy": set(PACKAGES),
}
FORBIDDEN = {
    "perceiver_io": {"onnx", "onnx_ir", "onnxscript", "onnxruntime", "transformers"},
    "perceiver_export": {"transformers"},
    "perceiver_runtime": {"torch", "onnx", "safetensors", "transformers", "PIL", "onnxruntime"},
    "perceiver_deploy": {"transformers"},
}


FLOORS = [
    "common",
    "files",
    "bundle",
    "backends",
    "processing",
    "tasks",
    "serving",
    "ray",
    "commands",
]  # each may use those before
MOST_MODULES = 15  # in a folder
MOST_ENTRIES = 12  # at the top of the runtime


def imported(path: Path) -> set[str]:
    """Top-level names of every import statement in a file, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    files = sorted(PACKAGES[package].rglob("*.py"))
    assert files
    for path in files:
        names = imported(path)
        assert names & set(PACKAGES) <= MAY_IMPORT[package], path
        assert not names & FORBIDDEN[package], path


def floors_used(path: Path) -> set[str]:
    """The floors of the runtime that a file imports from."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "perceiver_runtime":
            names |= {f"perceiver_runtime.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[1] for name in names if name.startswith("perceiver_runtime.")} & set(FLOORS)


def floor(path: Path) -> int | None:
    name = path.relative_to(PACKAGES["perceiver_runtime"]).parts[0].removesuffix(".py")
    return FLOORS.index(name) if name in FLOORS else None


def test_floors_of_the_runtime() -> None:
    """A file imports from its own floor and those below; every file but the package's own two stands on one."""
    files = sorted(PACKAGES["perceiver_runtime"].rglob("*.py"))
    assert {path.name for path in files if floor(path) is None} == {"__init__.py", "__main__.py"}
    for path in files:
        own = floor(path)
        if own is not None:
            assert floors_used(path) <= set(FLOORS[: own + 1]), path


def test_the_check_sees_a_way_up(tmp_path: Path) -> None:
    code = "from perceiver_runtime import errors, ray\ndef f():\n    from perceiver_runtime.tasks.loading import load\n"
    (tmp_path / "a.py").write_text(code)
    assert floors_used(tmp_path / "a.py") == {"ray", "tasks"}


def test_no_folder_grows_flat() -> None:
    runtime = PACKAGES["perceiver_runtime"]
    files = {path.relative_to(runtime) for path in runtime.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert len({path.parts[0] for path in files}) <= MOST_ENTRIES  # a branch that was left leaves folders of .pyc files
    for package in PACKAGES.values():
        for folder in {path.parent for path in package.rglob("*.py")}:
            modules = [path.name for path in folder.glob("*.py")]
            assert len(modules) <= MOST_MODULES, (folder, len(modules))


def test_the_runtime_names_only_numpy_and_the_standard_library() -> None:
    names = set().union(*(imported(path) for path in PACKAGES["perceiver_runtime"].rglob("*.py")))
    assert names - set(sys.stdlib_module_names) == {"numpy", "perceiver_runtime"}


def test_the_check_sees_a_forbidden_import(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    import torch.nn as nn\n    from perceiver_deploy.cli import main\n")
    assert imported(tmp_path / "a.py") == {"torch", "perceiver_deploy"}


def test_importing_the_runtime_loads_nothing_else(device_python: Path) -> None:
    code = "import sys; import perceiver_runtime; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(subprocess.run([*python_code(code, device_python)], check=True, capture_output=True, text=True).stdout.split())
    extra = {name for name in loaded - set(sys.stdlib_module_names) if not name.startswith(("_", "sitecustomize"))}
    assert extra == {"numpy", "perceiver_runtime"}


def test_every_runtime_module_imports_with_numpy_alone(device_python: Path) -> None:
    modules = [
        ".".join(path.relative_to(PACKAGES["perceiver_runtime"].parent).with_suffix("").parts)
        for path in sorted(PACKAGES["perceiver_runtime"].rglob("*.py"))
        if path.name != "__main__.py"
    ]
    code = f"import sys, importlib; sys.modules['onnxruntime'] = None; [importlib.import_module(m) for m in {modules}]"
    subprocess.run([*python_code(code, device_python)], check=True)


@pytest.mark.parametrize(
    ("package", "project"), [("perceiver_deploy", "pyproject.toml"), ("perceiver_runtime", "runtime/pyproject.toml")]
)
def test_versions_agree(package: str, project: str) -> None:
    declared = (ROOT / project).read_text().split('\nversion = "')[1].split('"')[0]
    assert importlib.import_module(package).__version__ == declared
