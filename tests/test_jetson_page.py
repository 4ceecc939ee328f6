"""docs/jetson.md, its own commands: each runs on stand-ins of CUDA and TensorRT, from a fresh export."""

import json
import re
import shlex
from pathlib import Path

import fake_gpu
import pytest
from published import PUBLISHED, save_random_checkpoint

from perceiver_deploy import cli
from perceiver_runtime.backends.tensorrt import backend, machine
from perceiver_runtime.commands import build, doctor, report
from perceiver_runtime.commands.main import main

PAGE = Path(__file__).parent.parent / "docs/jetson.md"
NOT_OURS = {"sudo", "scp", "python3", "pip", "cd", "trtexec"}
EXPECTED = {  # of the first command of each kind
    "perceiver-export": "for TensorRT",
    "inspect": r"fp16, and float32 in\n  encode: \d+ nodes",
    "doctor": r"next:\n(.*\n)*  build engines, minutes: perceiver build flow-trt --workspace 1GB",
    "build": r"TensorRT 10\.3\.0\n.*\.engine \(",
    "verify": r"flow-trt: every file as listed; known answer right on TensorRT 10\.3\.0",
    "run": "motion",
    "bench": r"call .* ms",
    "report": r"wrote perceiver-report\.json",
}


def commands(page: str) -> list[list[str]]:
    """Those of the page's blocks that have no language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = "".join(text for language, text in blocks if not language).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> fake_gpu.FakeTensorRT:
    device = fake_gpu.Device(memory=8 << 30)
    trt, cuda = fake_gpu.FakeTensorRT(device), fake_gpu.fake_cuda(device)
    for module in (backend, build, doctor, report):
        monkeypatch.setattr(module, "tensorrt", lambda: trt, raising=False)
        monkeypatch.setattr(module, "cuda", lambda: cuda)
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3\n")
    for module in (machine, doctor):
        monkeypatch.setattr(module, "TEGRA_RELEASE", tmp_path / "release")
    monkeypatch.setenv("PERCEIVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return trt


def follow(checkpoint: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run each; how they are called, in order."""
    called = []
    for program, *arguments in commands(PAGE.read_text(encoding="utf-8")):
        name = program.rpartition("/")[2]
        if name in NOT_OURS:
            continue
        assert name in ("perceiver", "perceiver-export"), program
        short = {"bench": ["--runs", "2"], "report": ["--runs", "2"]}.get(arguments[0], [])
        started = cli.main([*arguments, *checkpoint]) if name == "perceiver-export" else main([*arguments, *short])
        said = capsys.readouterr()
        assert started == 0, (program, arguments, said.err)
        kind = name if name == "perceiver-export" else arguments[0]
        if kind not in called:
            assert re.search(EXPECTED[kind], said.out + said.err), (arguments, said.out)
        called.append(kind)
    return called


def check(called: list[str], trt: fake_gpu.FakeTensorRT) -> None:
    assert set(called) == set(EXPECTED)
    first, second = json.loads(Path("perceiver-report.json").read_text())["bundles"]
    assert (first["precision"], second["precision"]) == ("fp32", "fp16")
    assert not any("failed" in step for each in (first, second) for step in each.values() if isinstance(step, dict))
    assert 0 < second["parity"]["flow"]["largest"] < 0.5
    assert second["bench"]["gpu"]["replayed"] > 0
    assert trt.builds.count("encode.onnx") == 3  # for the cache once a bundle, and once for trtexec


def test_with_the_shipped_checkpoint(jetson: fake_gpu.FakeTensorRT, capsys: pytest.CaptureFixture[str]) -> None:
    check(follow([], capsys), jetson)


@pytest.mark.published_size
@pytest.mark.long
def test_at_the_published_size(jetson: fake_gpu.FakeTensorRT, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path / "checkpoint", **PUBLISHED)
    check(follow(["--checkpoint", str(tmp_path / "checkpoint")], capsys), jetson)


def test_expected_output_is_no_command() -> None:
    assert commands("```\na b  # c\nd \\\n  e\n```\n\n```text\nf\n```\n\n```python\ng\n```\n") == [["a", "b"], ["d", "e"]]
