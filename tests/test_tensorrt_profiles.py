"""Several optimization profiles in one engine: built, kept, listed, and the tightest taken, on stand-ins."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_engines import FLOW, GPU, NOTHING, installed
from forgery import edit_manifest

import perceiver_runtime as pr
from perceiver_runtime.backends.tensorrt import backend
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, ProfileRange, spans
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands import build as build_command
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.asked_sizes import asked_runs

FRAMES = np.random.default_rng(0).integers(0, 255, (2, 40, 56, 3), np.uint8)
POINTS = np.array([[3, 4], [50, 2], [8, 39]])
FEW, MANY, ALL = ProfileRange(1, 3, 199), ProfileRange(200, 2240, 2240), ProfileRange(1, 2240, 2240)
SWITCH = "set_optimization_profile_async"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GPU:
    return installed(monkeypatch, tmp_path)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle of the first version, as if for TensorRT."""
    copy = Path(shutil.copytree(FLOW, tmp_path / "flow"))
    edit_manifest(copy, target="tensorrt")
    return copy


def test_the_tightest_profile_that_has_room_is_taken(gpu: GPU) -> None:
    with pr.load(FLOW, device="cpu") as flow:
        field, tracks = flow(*FRAMES), flow.at(*FRAMES, POINTS)
    with gpu.flow({"O": ALL}, {"O": FEW}) as flow:
        calls = gpu.device.calls
        np.testing.assert_allclose(flow(*FRAMES), field, rtol=1e-4, atol=1e-5)
        assert calls.count(SWITCH) == 0  # a context begins with the first profile
        for _ in range(3):
            np.testing.assert_allclose(flow.at(*FRAMES, POINTS), tracks, rtol=1e-4, atol=1e-5)
        assert calls.count(SWITCH) == 1
        for _ in range(3):
            np.testing.assert_allclose(flow(*FRAMES), field, rtol=1e-4, atol=1e-5)
        assert calls.count(SWITCH) == 2
        assert gpu.device.held["graphs"] == 2
    assert gpu.device.held == NOTHING


def test_what_no_profile_has_room_for(gpu: GPU) -> None:
    with gpu.flow({"O": FEW}, {"O": ProfileRange(300, 300, 400)}) as flow:
        both = r"built for \(1, 1, 64\) to \(16, 199, 64\), best \(16, 3, 64\), or \(1, 300, 64\) to \(16, 400, 64\)"
        with pytest.raises(pr.InputError, match=rf"decode: query_features has shape \(1, 250, 64\), the engine was {both}"):
            flow.at(*FRAMES, np.array([[x, y] for x in range(50) for y in range(5)]))
        assert np.isfinite(flow.at(*FRAMES, POINTS)).all()


def built(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[dict[str, list[int]]]]:
    """The profiles of each engine that `perceiver build` says it built."""
    assert main(["build", *arguments, "--json"]) == 0, capsys.readouterr().err
    engines = json.loads(capsys.readouterr().out)["engines"]
    names = ("encode", "decode")
    return {
        name: [{size: list(span.values()) for size, span in profile.items()} for profile in each["profiles"]]
        for name, each in zip(names, engines)
    }


def test_build_keep_list_and_run(bundle: Path, gpu: GPU, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--profile", "B=1:1:1", "O=1:3:199", "--profile", "O=200:2240:2240"]
    found = built(capsys, str(bundle), *both)
    assert [profile["O"] for profile in found["decode"]] == [[1, 3, 199], [200, 2240, 2240]]
    assert [sorted(profile) for profile in found["encode"]] == [["B", "H", "W"]] * 2
    assert [profile["B"] for profile in found["encode"]] == [[1, 1, 1], [1, 16, 16]]
    assert built(capsys, str(bundle), *both) == found
    assert gpu.trt.builds == ["encode.onnx", "decode.onnx"]
    assert main(["build", "--list"]) == 0
    assert "B=1:1:1 O=1:3:199 or B=1:16:16 O=200:2240:2240" in capsys.readouterr().out
    assert main(["build", str(bundle), *both]) == 0
    assert "MB, 2 profiles)" in capsys.readouterr().out
    with pr.load(bundle, device="tensorrt") as flow:
        flow(*FRAMES)
        flow.at(*FRAMES, POINTS)
        assert len(gpu.trt.builds) == 2
        assert gpu.device.calls.count(SWITCH) == 2  # to the second for the field, back for points


def test_profiles_that_are_the_same_for_a_graph_are_one(bundle: Path, gpu: GPU, capsys: pytest.CaptureFixture[str]) -> None:
    """Encode has no queries: its engine is that of any `--profile O=…`, and is not built again."""
    found = built(capsys, str(bundle), "--profile", "O=1:3:199", "--profile", "O=200:2240:2240")
    assert len(found["encode"]) == 1
    built(capsys, str(bundle))
    assert gpu.trt.builds == ["encode.onnx", "decode.onnx", "decode.onnx"]


def test_what_was_built_or_asked_for_last_is_what_runs(bundle: Path, gpu: GPU, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = ["--profile", "O=1:300:2240"]
    engines, ranges = backend.Engines(open_bundle(bundle)), open_bundle(bundle).manifest.ranges
    profiles = [spans(ranges), spans(ranges, {"O": ProfileRange(1, 300, 2240)})]
    wanted = [engines.wanted("decode", each, BuildOptions()) for each in profiles]
    assert wanted[0].key != wanted[1].key
    for arguments, latest in (([], 0), (narrow, 1), ([], 0), (narrow, 1)):
        for path in engines.cache.folder.glob("*.json"):  # in the past, for clocks of files are coarse
            os.utime(path, ns=(before := path.stat().st_mtime_ns - 10**9, before))
        built(capsys, str(bundle), *arguments)
        assert engines.cache.latest(wanted[0]) == wanted[latest]
    assert gpu.trt.builds.count("decode.onnx") == 2


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        (["--profile", "O=1:3:4", "O=5:6:7"], "one profile has O once: give --profile again for another profile"),
        (["--profile", "O=1:3:4", "--profile", "Q=1:1:1"], "the bundle has no size 'Q'"),
        (["--profile", "O=1:3:4", "--profile", "O=2239:2239:2239"], "or add a --profile for it"),
        (["--profile", "H=40:40:40", "W=300:300:300", "--profile", "H=300:300:300", "W=56:56:56"], "asks for by itself"),
    ],
)
def test_refusals(profiles: list[str], message: str, bundle: Path, gpu: GPU, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run that the bundle asks for needs room in one profile: one has the height and another the width is not enough."""
    assert main(["build", str(bundle), *profiles]) == 2
    assert message in capsys.readouterr().err
    assert gpu.trt.builds == []


def test_profiles_for_each_run_that_is_asked_for(bundle: Path, gpu: GPU) -> None:
    """One profile for each run and nothing else: it is taken, and verify passes."""
    runs = asked_runs(open_bundle(bundle))
    assert {tuple(sorted(run)) for run in runs} == {("B", "H", "W"), ("B", "O")}
    options: list[str] = []
    for run in runs:
        options += ["--profile", *(f"{name}={size}:{size}:{size}" for name, size in run.items())]
    assert main(["build", str(bundle), *options]) == 0
    assert main(["verify", str(bundle), "--device", "tensorrt"]) == 0
    assert main(["run", str(bundle), "--sample", "--device", "tensorrt"]) == 0


def test_prune_removes_engines_of_another_version(
    bundle: Path, gpu: GPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["build", str(bundle)]) == 0
    monkeypatch.setattr(build_command, "__version__", "0.0.9")
    assert len(list((tmp_path / "cache/engines").glob("*.engine"))) == 2
    assert main(["build", "--prune"]) == 0
    assert not list((tmp_path / "cache/engines").glob("*.engine"))
