"""ONNX Runtime and OpenVINO send nothing: nothing of theirs is under the user's folders after any use of ours."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perceiver_runtime.common.children import python_code, python_module
from perceiver_runtime.common.telemetry import _as_if_missing

SWITCHES = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "TF_BUILD", "GITHUB_ACTIONS")  # each would hide the fault
PERCEIVER = python_module("perceiver_runtime")


def written(home: Path, *command: object) -> list[str]:
    """The files under a new home folder and cache after a command, which succeeds."""
    (home / "cache").mkdir(parents=True)
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config")}
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES} | places
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_it_is_there_to_be_switched_off(tmp_path: Path) -> None:
    """Without us both write: else the other tests would show nothing."""
    assert any("deviceid" in name for name in written(tmp_path / "a", *python_code("import onnxruntime")))
    pytest.importorskip("openvino_telemetry", reason="OpenVINO is not here")
    assert any("intel" in name for name in written(tmp_path / "b", *python_code("import openvino")))


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_running_a_bundle_writes_nothing(device: str, tiny_bundle: Path, tmp_path: Path) -> None:
    if device == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not here")
    assert written(tmp_path / "home", *PERCEIVER, "verify", tiny_bundle, "--device", device) == []
    assert written(tmp_path / "other", *PERCEIVER, "doctor", tiny_bundle) == []


def test_exporting_writes_nothing(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("perceiver-export"), "--task", "image-classification"]
    assert written(tmp_path / "home", *command, "-o", tmp_path / "digits") == []


def test_the_sender_can_be_imported_afterwards() -> None:
    with _as_if_missing("openvino_telemetry_of_nobody"), pytest.raises(ImportError):
        __import__("openvino_telemetry_of_nobody")
    assert "openvino_telemetry_of_nobody" not in sys.modules
    with _as_if_missing("json"):  # what is there already stays
        import json
    assert json is sys.modules["json"]
