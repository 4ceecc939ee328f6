"""The `perceiver-export` command: what it writes, what it refuses, and what is left when it is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import HuggingFace
from transformers import PerceiverConfig, PerceiverForMaskedLM

from perceiver_deploy.cli import main
from perceiver_deploy.export import export_bundle
from perceiver_deploy.own.task_rows import ROWS
from perceiver_deploy.staging import clean_up, staged_folder
from perceiver_deploy.tasks.flow import FlowRecipe
from perceiver_deploy.tasks.recipe import ExportOptions
from perceiver_deploy.tasks.registry import EXPORT_TASKS
from perceiver_deploy.verification import verify
from perceiver_deploy.verification.comparison import TOLERANCES, Comparison
from perceiver_export.analysis.cost import UnknownCost
from perceiver_io import TASKS, OpticalFlow, load_checkpoint
from perceiver_runtime import InputError, UsageError, VerificationError
from perceiver_runtime.backends.onnxruntime import OnnxGraph
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.reader import own_graph
from perceiver_runtime.common.children import python_code


def test_export_by_command(tiny: HuggingFace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "flow"
    assert main(["--task", "flow", "--checkpoint", str(tiny.folder), "-o", str(output)]) == 0
    out, err = capsys.readouterr()
    assert f"wrote {output}" in out
    assert f"next: perceiver run {output} frame1.png frame2.png -o flow.png" in out
    assert err == ""  # progress is silent where stderr is not a terminal
    assert os.listdir(tmp_path) == ["flow"]
    assert oct(output.stat().st_mode & 0o777) == oct(0o777 & ~current_umask())
    assert {oct(path.stat().st_mode & 0o777) for path in output.iterdir()} == {oct(0o666 & ~current_umask())}


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_shipped_checkpoint_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--task", "flow", "-o", str(tmp_path / "flow"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["source"]["checkpoint"] == "flow-small"
    assert "small checkpoint shipped for flow, flow-small; for the published one: --checkpoint deepmind/optical-flow" in err


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--task", "flwo"], 2, "unknown task 'flwo'; did you mean 'flow'? available: flow"),
        (["--task", "pose"], 2, "unknown task 'pose'; a model with other outputs is exported with --model"),
        (["--task", "multimodall"], 2, "did you mean 'multimodal'? available: flow, fill-mask"),
        ([], 2, "which task? --task with one of: flow, fill-mask"),
        (["--task", "features", "--fused"], 2, "features are one graph already: leave out --fused"),
        (["--task", "flow", "--image-size", "64"], 2, "an image size is for tasks on images"),
        (["--task", "flow", "--target", "tensorrt", "--fused"], 2, "one graph of the whole model is for ONNX Runtime"),
        (["--task", "flow", "--checkpoint", "/nowhere/at/all"], 1, "no checkpoint at /nowhere/at/all: give a folder"),
        (["--task", "flow", "-o", "/nowhere/flow"], 1, "there is no folder /nowhere to write flow into"),
    ],
)
def test_refusals(
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    err = capsys.readouterr().err.strip().splitlines()
    assert message in err[-1]
    assert os.listdir() == []


def test_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = PerceiverConfig(num_latents=4, d_latents=16, num_self_attends_per_block=1, qk_channels=16, v_channels=16)
    PerceiverForMaskedLM(config).save_pretrained(tmp_path / "language")
    capsys.readouterr()
    assert main(["--task", "flow", "--checkpoint", str(tmp_path / "language"), "-o", str(tmp_path / "flow")]) == 1
    assert "is a checkpoint for fill-mask, not for flow: use --task fill-mask, or features" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["language"]


def test_what_is_there_is_kept(tiny: HuggingFace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    arguments = ["--task", "flow", "--checkpoint", str(tiny.folder), "-o", str(tmp_path / "precious")]
    assert main(arguments) == 1
    assert "is already there: choose another -o, or --force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 1
    assert "is there and is no bundle: --force replaces bundles only" in capsys.readouterr().err
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


def test_force_replaces_a_bundle(tiny: HuggingFace, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "flow"))
    (bundle / "README.md").write_text("stale")
    export_bundle(task="flow", checkpoint=tiny.folder, output=bundle, force=True)
    assert (bundle / "README.md").read_text() != "stale"
    assert os.listdir(tmp_path) == ["flow"]


def fail_half_way(output: Path, *, force: bool = False) -> None:
    with staged_folder(output, force=force) as staging:
        (staging / "part").write_text("half")
        raise RuntimeError("half way")


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_failing_replacement_keeps_the_old(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "flow"))
    before = sorted(os.listdir(bundle))
    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way(bundle, force=True)
    assert sorted(os.listdir(bundle)) == before
    assert os.listdir(tmp_path) == ["flow"]


def stopped(checkpoint: Path, folder: Path, at: str, number: signal.Signals) -> tuple[int, str]:
    """Exit code and messages of an export to `flow` that gets a signal after it says `at`."""
    script = (
        "import signal, sys, perceiver_deploy.cli as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored\n"
        "cli._progress = lambda: lambda text: print(text, flush=True)\n"
        f"sys.exit(cli.main(['--task', 'flow', '--checkpoint', {str(checkpoint)!r}, '-o', 'flow']))\n"
    )
    process = subprocess.Popen([*python_code(script)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(at):
            break
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["tracing encode", "verifying", "frames 2x2x3x61x83"])
def test_interrupting_leaves_no_bundle(tiny: HuggingFace, tmp_path: Path, number: signal.Signals, at: str) -> None:
    code, err = stopped(tiny.folder, tmp_path, at, number)
    assert code == 130
    assert "perceiver-export: interrupted; nothing was written to flow" in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("at", ["tracing decode", "verifying"])
def test_killed_outright(tiny: HuggingFace, tmp_path: Path, at: str) -> None:
    """kill -9 leaves a hidden folder and no bundle; the next export removes it."""
    code, _ = stopped(tiny.folder, tmp_path, at, signal.SIGKILL)
    assert code == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".flow.partial-")
    clean_up(tmp_path / "other")
    assert os.listdir(tmp_path) == [left]
    clean_up(tmp_path / "flow")
    assert os.listdir(tmp_path) == []


def flow_recipe(model: Any, folder: Path) -> FlowRecipe:
    return FlowRecipe(model.config, ExportOptions(), folder)


def test_a_wrong_graph_fails_verification(tiny: HuggingFace, tiny_bundle: Path) -> None:
    """The graphs of one checkpoint against another with a single weight matrix changed by 2 %."""
    names, unchecked = ("encode", "decode"), GraphEntry("", (), ())
    graphs = {name: OnnxGraph(*own_graph(tiny_bundle / f"{name}.onnx"), unchecked, device="cpu") for name in names}
    model = load_checkpoint(tiny.folder)
    verify.verify(flow_recipe(model, tiny.folder), model, graphs)
    with torch.no_grad():
        model.encoder.self_attention[0].attention.value.weight.mul_(1.02)
    with pytest.raises(VerificationError, match=r"the graphs differ from torch on frames 1x2x3x16x16: flow is off by"):
        verify.verify(flow_recipe(model, tiny.folder), model, graphs)


def test_a_field_that_ignores_its_input_fails_verification(tiny: HuggingFace) -> None:
    """Every tolerance passes against a constant field: the negative control says so."""

    class Constant:
        def run(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            if "frames" in inputs:
                batch, height, width = inputs["frames"].shape[0], *inputs["frames"].shape[-2:]
                return [np.zeros((batch, 4, 4), np.float32), np.zeros((batch, height * width, 4), np.float32)]
            return [np.zeros((*inputs["query_positions"].shape[:2], 2), np.float32)]

    model = load_checkpoint(tiny.folder)
    with torch.no_grad():
        model.decoder.output.weight.zero_()
        model.decoder.output.bias.zero_()
    graphs: Any = {"encode": Constant(), "decode": Constant()}
    with pytest.raises(VerificationError, match=r"flow is the same everywhere .* proves nothing"):
        verify.verify(flow_recipe(model, tiny.folder), model, graphs)


def test_comparing_nothing_fails(tiny: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlowRecipe, "cases", lambda self: iter(()))
    model = load_checkpoint(tiny.folder)
    with pytest.raises(VerificationError, match="nothing was compared"):
        verify.verify(flow_recipe(model, tiny.folder), model, {})
    assert not Comparison.of(np.zeros((0, 2)), np.zeros((0, 2)), TOLERANCES["fp32"]).passes
    assert not Comparison.of(np.zeros((3, 2)), np.zeros((4, 2)), TOLERANCES["fp32"]).passes


def test_nan_never_passes() -> None:
    reference = np.random.default_rng(0).normal(size=(50, 2))
    assert Comparison.of(reference, reference + 1e-4, TOLERANCES["fp32"]).passes
    assert not Comparison.of(reference, reference + 1e-2, TOLERANCES["fp32"]).passes
    assert not Comparison.of(reference, np.where(reference > 1, np.nan, reference), TOLERANCES["fp32"]).passes


def test_a_crash_of_the_child_is_a_failed_verification(
    tiny: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = [*python_code("import os; os.kill(os.getpid(), 9)")]
    monkeypatch.setattr("perceiver_deploy.writing.own_module", lambda module, never: dead)
    assert main(["--task", "flow", "--checkpoint", str(tiny.folder), "-o", str(tmp_path / "flow")]) == 3
    assert "verification failed (exit code -9): the process died. No bundle was written" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "flwo"}, "unknown task 'flwo'; did you mean 'flow'"),
        (
            {"task": "optical-flow", "passes": ("absorb_kyes",)},
            r"unknown passes in \('absorb_kyes',\); a tuple of some of: fold_kv_projections",
        ),
        ({"task": "flow", "passes": "fold_kv_projections"}, "unknown passes in 'fold_kv_projections'; a tuple of some of"),
        ({"task": "flow", "precision": "fp61"}, "unknown precision 'fp61'; available: fp32, fp16, bf16, int8, fp8"),
        ({"task": "flow", "target": "onnx"}, "unknown target 'onnx'; available: ort, cuda, tensorrt"),
    ],
)
def test_options_of_the_python_api_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export_bundle(**options, output=tmp_path / "flow")
    assert os.listdir(tmp_path) == []


def test_verification_imports_nothing_from_the_checkpoint(
    tiny: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint's folder is the current one, and on the module path in every way that there is."""
    checkpoint = Path(shutil.copytree(tiny.folder, tmp_path / "checkpoint"))
    for name in ("queue", "random", "types", "numpy", "torch", "sitecustomize", "usercustomize", "perceiver_deploy"):
        (checkpoint / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(checkpoint)
    monkeypatch.setenv("PYTHONPATH", f":{checkpoint}:.")
    monkeypatch.setattr(sys, "path", [*sys.path, "", ".", str(checkpoint)])
    export_bundle(task="optical-flow", checkpoint=".", output=tmp_path / "flow")
    assert not (tmp_path / "ran").exists()


def test_a_failed_verification_is_exit_code_3(
    tiny: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The child compares with the checkpoint on disk; the parent exports another model."""
    load = load_checkpoint

    def other(files: object) -> OpticalFlow:
        model = load(tiny.folder)
        with torch.no_grad():
            model.decoder.output.weight.mul_(1.05)
        return model

    monkeypatch.setattr("perceiver_deploy.export.load_files", other)
    assert main(["--task", "flow", "--checkpoint", str(tiny.folder), "-o", str(tmp_path / "flow")]) == 3
    assert "the graphs differ from torch" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_folder_without_permission_is_said(tiny: HuggingFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="no permission to write into"):
        export_bundle(task="flow", checkpoint=tiny.folder, output=tmp_path / "locked" / "flow")


def test_list_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-tasks"]) == 0
    out = capsys.readouterr().out
    assert "fill-mask: a text with masked bytes to what they may be\n    aliases: mlm" in out
    assert "published: deepmind/language-perceiver" in out
    assert main(["--list-tasks", "--json"]) == 0
    assert {task["task"] for task in json.loads(capsys.readouterr().out)} == set(TASKS) | {row.task for row in ROWS}
    assert "token-classification: a text to labelled spans of it: names, dates, whatever was trained\n    aliases: ner" in out
    without_checkpoint = {row.task for row in ROWS} - set(EXPORT_TASKS) | {"arrays"}
    assert out.count("of a model of your own: --model") == len(without_checkpoint) >= 4


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["-h"])
    assert "--checkpoint PATH|HUB-ID|NAME" in capsys.readouterr().out


def test_a_replacement_that_cannot_move_into_place_keeps_the_old(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "flow"))
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if Path(target) == bundle and "-old" not in str(source):
            raise OSError("disk gone")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="disk gone"), staged_folder(bundle, force=True) as staging:
        (staging / "manifest.json").write_text("new")
    assert sorted(os.listdir(bundle)) == sorted(os.listdir(tiny_bundle))
    assert os.listdir(tmp_path) == ["flow"]


def test_no_pass_and_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bundle"
    assert main(["--task", "flow", "-o", str(output), "--passes", "none", "fold_kv_projections"]) == 2
    assert "--passes none fold_kv_projections: give none alone, or the names of some" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.filterwarnings("default::perceiver_export.MissingPlanWarning")
def test_a_missing_memory_plan_is_said(
    tiny: HuggingFace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody watches: a Python warning, on the command line a line."""

    def unknown(*_: object) -> None:
        raise UnknownCost("of Frobnicate")

    monkeypatch.setattr("perceiver_export.export._saved", unknown)
    assert main(["--task", "flow", "--checkpoint", str(tiny.folder), "-o", str(tmp_path / "bundle")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    message = "the cost of encode is unknown (of Frobnicate): the bundle has no memory plan for --max-memory"
    assert line == f"perceiver-export: {message}"
