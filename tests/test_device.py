"""The bundle on a machine without torch: a virtual environment with numpy and onnxruntime only."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HuggingFace
from published import model_frames, real_frames, transformers_flow
from test_runtime_flow import check_against, tiled_transformers

from perceiver_runtime.common.children import python_code

# Runs on the device: load, whole field, field at points, peak memory; only what is printed comes back.
PROGRAM = """
import json, sys
import numpy as np
import perceiver_runtime as pr

bundle, first, second, points, out = sys.argv[1:]
frame1, frame2, points = np.load(first), np.load(second), np.load(points)
with pr.load(bundle) as flow:
    field = flow(frame1, frame2)
    dense = sum(flow.timing.seconds().values())
    tracks = flow.at(frame1, frame2, points)
    sparse = sum(flow.timing.seconds().values()) - dense
np.savez(out, field=field, tracks=tracks)
# Not getrusage: its maximum is inherited from the process that started this one.
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
missing = [name for name in ("torch", "onnx", "safetensors", "transformers", "PIL") if name in sys.modules]
print(json.dumps({"peak_bytes": peak, "dense_s": dense, "points_s": sparse, "loaded": missing}))
"""


def run_on_device(python: Path, bundle: Path, frames: tuple[np.ndarray, np.ndarray], points: np.ndarray, folder: Path) -> dict:
    names = []
    for name, array in zip(("a", "b", "points"), (*frames, points)):
        names.append(folder / f"{name}.npy")
        np.save(names[-1], array)
    command = [*python_code(PROGRAM, python), bundle, *names, folder / "out.npz"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    with np.load(folder / "out.npz") as arrays:
        return {**json.loads(done.stdout), "field": arrays["field"], "tracks": arrays["tracks"]}


def check_points(result: dict, points: np.ndarray) -> None:
    x, y = points.T
    assert np.abs(result["tracks"] - result["field"][y, x]).max() <= 1e-4
    assert result["loaded"] == []


def random_points(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.stack([random.integers(0, width, 200), random.integers(0, height, 200)], axis=-1)


def test_tiny(device_python: Path, tiny: HuggingFace, tiny_bundle: Path, tmp_path: Path) -> None:
    frames, points = real_frames(64, 100), random_points(64, 100)
    result = run_on_device(device_python, tiny_bundle, frames, points, tmp_path)
    check_against(tiled_transformers(tiny, *frames), result["field"], np.zeros_like(result["field"]))
    check_points(result, points)


@pytest.fixture(scope="session")
def published_bundle(published: HuggingFace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`published`, exported by the command, in a process of its own."""
    output = tmp_path_factory.mktemp("bundles") / "published"
    command = [
        Path(sys.executable).with_name("perceiver-export"),
        "--task",
        "flow",
        "--checkpoint",
        published.folder,
        "-o",
        output,
    ]
    subprocess.run(command, check=True)
    return output


@pytest.mark.published_size
@pytest.mark.long
def test_published_size(device_python: Path, published: HuggingFace, published_bundle: Path, tmp_path: Path) -> None:
    """transformers' checkpoint → perceiver-export → a device without torch: same field, under 2 GB."""
    frames, points = real_frames(368, 496), random_points(368, 496)
    result = run_on_device(device_python, published_bundle, frames, points, tmp_path)
    expected = transformers_flow(published.model, model_frames(*frames))[0] * 20
    check_against(expected, result["field"], np.zeros_like(result["field"]))
    check_points(result, points)
    assert result["peak_bytes"] < 2e9


@pytest.mark.published_size
@pytest.mark.long
def test_published_size_tiled(device_python: Path, published: HuggingFace, published_bundle: Path, tmp_path: Path) -> None:
    """The same on 436x1024, six tiles."""
    frames, points = real_frames(436, 1024), random_points(436, 1024)
    result = run_on_device(device_python, published_bundle, frames, points, tmp_path)
    check_against(tiled_transformers(published, *frames), result["field"], np.zeros_like(result["field"]))
    check_points(result, points)
    assert result["peak_bytes"] < 2e9
