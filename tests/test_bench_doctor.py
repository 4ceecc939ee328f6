"""`perceiver bench` and `perceiver doctor`, as typed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perceiver_runtime.commands import bench, doctor
from perceiver_runtime.commands.main import main


@pytest.fixture(scope="module")
def digits(shipped: Callable[..., Path]) -> Path:
    return shipped("image-classification")


def test_bench(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", str(digits), "--runs", "5", "--warm-up", "1", "--batch", "1", "4", "--device", "cpu"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["batch"] for each in found["batches"]] == [1, 4]
    for each in found["batches"]:
        seconds = each["seconds"]
        assert set(seconds) == {"call", "preprocess", "encode", "decode", "postprocess"}
        assert all(0 <= row["p50"] <= row["p90"] <= row["p99"] for row in seconds.values())
        assert seconds["encode"]["p50"] + seconds["decode"]["p50"] <= seconds["call"]["p99"]
        assert each["inputs_per_second"] == pytest.approx(each["batch"] / seconds["call"]["p50"])
    assert found["peak_memory_bytes"] > 10e6
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "batch 4: " in text
    assert "on CPUExecutionProvider; loaded in" in text


def test_bench_of_a_task_without_batches(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(small_bundle), "--runs", "1", "--warm-up", "1", "--batch", "8", "--device", "cpu", "--json"]) == 0
    assert [each["batch"] for each in json.loads(capsys.readouterr().out)["batches"]] == [1]


def test_percentiles() -> None:
    assert bench.percentiles([float(value) for value in range(101)]) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}


def test_doctor(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(digits, damaged)
    (damaged / "encode.onnx").write_bytes(b"")
    assert main(["doctor", str(digits), str(damaged), str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["numpy"] == np.__version__
    assert found["machine"]["onnxruntime"].endswith("CPUExecutionProvider")
    whole, broken, none = found["bundles"]
    assert whole["devices"]["cpu"] == whole["known_answer"] == ""
    assert "export it again with --target tensorrt" in whole["devices"]["tensorrt"]
    assert "has 0 bytes, the manifest says" in broken["refused"]
    assert "has no manifest.json" in none["refused"]
    assert main(["doctor", str(digits)]) == 0
    text = capsys.readouterr().out
    assert "known answer   right, on " in text


def test_doctor_says_what_is_missing(digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ONNX Runtime, without TensorRT: findings, no errors."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert main(["doctor", str(digits), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["onnxruntime"].startswith("no: ONNX Runtime cannot be imported")
    assert "pip install onnxruntime" in found["bundles"][0]["devices"]["cpu"]
    assert "ONNX Runtime cannot be imported" in found["bundles"][0]["known_answer"]


def test_power_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.power_mode() == "no nvpmodel here"
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN'\necho 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert doctor.power_mode() == "NV Power Mode: MAXN 0"
