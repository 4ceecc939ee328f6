"""A task and a kind of input that another package brings: exported, verified, run, measured, served and in tables, with no
change here. tests/toy_task is that package, installed as a user installs it."""

import ast
import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from forgery import edit_manifest

from perceiver_deploy.cli import main as export
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_export import GRAPHS
from perceiver_io import TASKS
from perceiver_io.errors import TaskError
from perceiver_io.tasks import installed
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.children import python_code, python_module
from perceiver_runtime.tasks import registry
from perceiver_runtime.tasks.registry import BUILT_IN

ROOT = Path(__file__).parent.parent
USE = """
import json, sys, numpy as np, perceiver_runtime as pr
from perceiver_runtime.ray import BundleRows
series = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
with pr.load(sys.argv[1], task="series-classification") as classify:
    labels = classify([series, series[:4]], top_k=1)
    assert list(classify.map([series, series[:4]], batch_size=2, top_k=1)) == labels
column = np.empty(3, object)
column[:] = [series, series[:, :2], series[:4]]
table = BundleRows(sys.argv[1])({"series": column})
print(json.dumps([[label.label for (label,) in labels], table["label"].tolist(), table["error"].tolist()]))
"""


def perceiver(python: Path, *arguments: object) -> str:
    command = [*python_module("perceiver_runtime", python), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands(toy_python: Path, toy_bundle: Path, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", np.random.default_rng(1).standard_normal((9, 3)), delimiter=",")
    assert json.loads(perceiver(toy_python, "verify", toy_bundle, "--json"))["outputs"]["logits"]["max_error"] < 1e-4
    ran = json.loads(perceiver(toy_python, "run", toy_bundle, tmp_path / "a.csv", "--json"))
    assert ran["labels"][0]["label"] in ("rest", "walk", "run")
    assert perceiver(toy_python, "run", toy_bundle, "--sample").strip() in ("rest", "walk", "run")
    assert "CSV" in perceiver(toy_python, "run", toy_bundle, "--help")
    assert (
        json.loads(perceiver(toy_python, "bench", toy_bundle, "--runs", 2, "--batch", 3, "--json"))["batches"][0]["batch"] == 3
    )
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.csv\n")
    perceiver(toy_python, "run", toy_bundle, "--from-file", tmp_path / "list.txt", "--jsonl", tmp_path / "answers.jsonl")
    assert json.loads((tmp_path / "answers.jsonl").read_text())["labels"][0] == ran["labels"][0]
    command = [*python_module("perceiver_runtime", toy_python), "evaluate", str(toy_bundle), str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, "which names no metric" in refused.stderr) == (2, True)
    served = json.loads(perceiver(toy_python, "triton", toy_bundle, "-o", tmp_path / "models", "--name", "series", "--json"))
    assert served["models"] == ["series_encode", "series_decode", "series", "series_v1"]


def test_in_python_and_in_tables(toy_python: Path, toy_bundle: Path) -> None:
    command = [*python_code(USE, toy_python), str(toy_bundle)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    labels, table, errors = found
    assert [table[0], table[2]] == labels
    assert "finite numbers (steps, 3)" in errors[1]


def test_listed_by_alias_and_without_a_shipped_checkpoint(toy_python: Path, tmp_path: Path) -> None:
    export = python_module("perceiver_deploy.cli", toy_python)
    listed = subprocess.run([*export, "--list-tasks", "--json"], capture_output=True, text=True, check=True)
    (toy,) = [task for task in json.loads(listed.stdout) if task["task"] == "series-classification"]
    assert (toy["does"], toy["aliases"], toy["shipped"]) == ("a series of numbers to labels", ["series"], None)
    done = subprocess.run([*export, "--task", "series", "-o", "b"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, "no checkpoint is shipped for series-classification" in done.stderr) == (2, True)


def test_where_it_is_not_installed(toy_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the package; what needs no task still works."""
    assert open_bundle(toy_bundle).manifest.choices["task_package"] == "perceiver-toy"
    for command in (["verify"], ["run"], ["bench"], ["triton", "-o", "models"]):
        assert main([command[0], str(toy_bundle), *command[1:]]) == 2
        assert "install perceiver-toy, which brings it" in capsys.readouterr().err
    assert main(["inspect", str(toy_bundle)]) == 0


@pytest.mark.parametrize("group", ["perceiver.models", "perceiver.graphs", "perceiver.export_tasks", "perceiver.runtime_tasks"])
def test_a_package_that_does_not_import(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_bundle: Path, tmp_path: Path
) -> None:
    """One sentence that names it, whichever of its records is wanted; what is of another task goes on."""
    broken = metadata.EntryPoint("broken", "no_such_module:TASK", group)

    def found(group: str) -> list[metadata.EntryPoint]:
        return [broken] if group == broken.group else []

    for module in (installed, registry):
        monkeypatch.setattr(module, "entry_points", found)
    message = "the task broken of no_such_module:TASK cannot be loaded (No module named 'no_such_module')"
    if group == "perceiver.runtime_tasks":
        bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
        edit_manifest(bundle, task="broken")
        assert main(["verify", str(bundle)]) == 2
        assert message in capsys.readouterr().err
    else:
        (records,) = (each for each in (TASKS, GRAPHS, EXPORT_TASKS) if "broken" in each)
        with pytest.raises(TaskError, match="cannot be loaded"):
            records["broken"]
    if group == "perceiver.export_tasks":
        for command in (["--list-tasks"], ["--task", "broken", "-o", str(tmp_path / "b")]):
            assert export(command) == 2
            assert message in capsys.readouterr().err
    assert main(["verify", str(tiny_bundle)]) == 0


def named_tasks(code: str) -> list[str]:
    """Names of tasks that a file compares with, or has as keys of a table."""
    found: list[str] = []
    for node in ast.walk(ast.parse(code)):
        parts = [*node.comparators, node.left] if isinstance(node, ast.Compare) else []
        parts += [key for key in node.keys if key] if isinstance(node, ast.Dict) else []
        inside = [
            each for part in parts for each in (part.elts if isinstance(part, (ast.Tuple, ast.List, ast.Set)) else [part])
        ]
        found += [str(each.value) for each in inside if isinstance(each, ast.Constant) and each.value in BUILT_IN]
    return found


def test_no_task_is_named_outside_its_room() -> None:
    """No comparison with a task's name, and no table by names of tasks, but in registries and records of tasks themselves."""
    packages = re.compile(r"(runtime/perceiver_runtime|perceiver_deploy|exporters|models/perceiver_io)/")
    rooms = re.compile(r"/tasks/|/demo/")
    for path in sorted(ROOT.glob("*/**/*.py")):
        name = str(path.relative_to(ROOT))
        if packages.match(name) and not rooms.search(name):
            assert named_tasks(path.read_text(encoding="utf-8")) == [], name


def test_the_check_sees_a_branch() -> None:
    assert named_tasks('if task == "flow":\n    pass\n') == ["flow"]
    assert named_tasks('x = {"fill-mask": 1}') == ["fill-mask"]
    assert named_tasks('task in ("multimodal", "x")') == ["multimodal"]
    assert named_tasks('"""flow"""\nprint("flow")') == []
