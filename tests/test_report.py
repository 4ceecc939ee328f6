"""`perceiver report`, and what doctor says to do next: on a CPU and, with stand-ins, on a Jetson."""

import getpass
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perceiver_runtime.commands import anonymous, doctor
from perceiver_runtime.commands.main import main

MACHINE = {"jetson": "R36", "tensorrt": "10.3.0", "gpu": "Orin"}


def test_a_report_on_a_cpu(
    shipped: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two bundles, one of which is no bundle; nobody's names and no folder of the user's in the file."""
    bundle, file = shipped("image-classification"), tmp_path / "report.json"
    monkeypatch.setattr(anonymous.platform, "node", lambda: "robot-seven.local")
    monkeypatch.setattr(anonymous.getpass, "getuser", lambda: "ada")
    arguments = [str(bundle), str(tmp_path / "robot-seven"), "--device", "cpu", "--runs", "3", "-o", str(file)]
    assert main(["report", *arguments]) == 0
    said = capsys.readouterr().out
    assert "verify   right on CPUExecutionProvider" in said
    assert "bench    p50" in said
    assert "parity   logits 0 of the spread" in said
    text = file.read_text()
    assert str(tmp_path) not in text
    assert "robot-seven" not in text
    found = json.loads(text)
    whole, missing = found["bundles"]
    assert (whole["bundle"], whole["task"], whole["precision"]) == ("bundle 1", "image-classification", "fp32")
    assert whole["bench"]["batches"][0]["seconds"]["call"]["p50"] > 0
    assert whole["verify"]["outputs"]["logits"]["max_error"] <= whole["verify"]["outputs"]["logits"]["tolerance"]
    assert "build" not in whole
    assert "bundle 2" in missing["failed"]
    assert found["machine"]["numpy"] == np.__version__
    assert main(["report", *arguments]) == 1
    assert "is already there" in capsys.readouterr().err


def test_differences_are_measured(
    shipped: Callable[..., Path], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one's answer is the reference; a bundle of another task has none to compare, and the rest goes on."""
    file = tmp_path / "report.json"
    bundles = [str(shipped("image-classification")), str(small_bundle)]
    assert main(["report", *bundles, "--device", "cpu", "--runs", "1", "-o", str(file)]) == 0
    first, other = json.loads(file.read_text())["bundles"]
    assert first["parity"]["logits"] == {"largest": 0.0, "mean": 0.0}
    assert "failed" in other["parity"]
    assert other["bench"]["batches"]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/usr/local/cuda/lib64/libcudart.so.12", "/usr/local/cuda/lib64/libcudart.so.12"),
        ("in /home/ada/flow, twice: /data/x.bin", "in <path>, twice: <path>"),
        ("flow-trt is refused", "bundle 1 is refused"),
        ("flow-trt-2 is another", "flow-trt-2 is another"),
        ("of ada on robot-seven", "of <name> on <name>"),
        ("adagio, 12.5 GB/s, 3 / 4, https://a.b/c", "adagio, 12.5 GB/s, 3 / 4, https://a.b/c"),
        ("~/flow", "<path>"),
    ],
)
def test_anonymous(text: str, clean: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "robot-seven")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setenv("HOME", "/home/ada")
    assert anonymous.anonymous({"a": [text, 1]}, {"flow-trt": "bundle 1"}) == {"a": [clean, 1]}


@pytest.mark.parametrize(
    ("machine", "bundle", "step"),
    [
        ({"tensorrt": "no: it is not here"}, {}, "make the virtual environment again with --system-site-packages"),
        ({"gpu": "no: CUDA finds none"}, {}, "sudo apt-get install nvidia-jetpack"),
        ({}, {"unbuilt": ["encode"], "known_answer": "not run"}, "set the power mode"),
        ({}, {"unbuilt": ["encode"], "known_answer": "not run"}, "perceiver build flow-trt --workspace 1GB"),
        (
            {"jetson": "no"},
            {"unbuilt": ["encode"], "known_answer": "not run"},
            "build engines, minutes: perceiver build flow-trt",
        ),
        ({}, {"known_answer": ""}, "perceiver bench flow-trt"),
        ({}, {"refused": "damaged"}, "copy flow-trt again"),
    ],
)
def test_next_steps(machine: dict[str, str], bundle: dict[str, Any], step: str) -> None:
    found = {"bundle": "flow-trt", "known_answer": "off by 3", **bundle}
    steps = doctor.next_steps(MACHINE | machine, [found])
    assert any(step in each for each in steps)
    assert doctor.next_steps(MACHINE, [{"bundle": "flow-trt", "known_answer": "off by 3"}]) == []


def test_jetpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, tool = tmp_path / "nv_tegra_release", tmp_path / "dpkg-query"
    monkeypatch.setattr("perceiver_runtime.backends.tensorrt.machine.TEGRA_RELEASE", release)
    assert doctor.jetpack() == "no, this is no Jetson"
    release.write_text("# R36 (release), REVISION: 4.3\n")
    tool.write_text('#!/bin/sh\n[ "$4" = nvidia-jetpack ] && printf 6.2+b77\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert doctor.jetpack() == "6.2+b77"
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert doctor.jetpack() == "its package nvidia-jetpack is not installed"
