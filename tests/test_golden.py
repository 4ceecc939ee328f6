"""Numbers that must not rot: a bundle of the first schema version, and one number of the weights changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forgery import edit_manifest
from published import spread
from shipped_tasks import TASKS

import perceiver_runtime
from perceiver_runtime.bundle.manifest import FileEntry, Manifest
from perceiver_runtime.bundle.reader import file_sha256, open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.known_answer import FILE, Sample

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden-1.0"


def test_the_first_schema_version_still_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kept bundle opens, its known answer is right, and its answer to a pair of frames is the kept one."""
    bundle = Path(shutil.copytree(GOLDEN / "flow", tmp_path / "flow"))  # a checkout may hold links
    assert open_bundle(bundle).manifest.schema_version == "1.0"
    assert main(["verify", str(bundle)]) == 0, capsys.readouterr().err
    frames = (np.arange(2 * 40 * 56 * 3, dtype=np.int64) ** 2 % 251).astype(np.uint8).reshape(2, 40, 56, 3)
    with perceiver_runtime.load(bundle, device="cpu") as flow:
        found = flow(*frames)
    kept = np.load(GOLDEN / "flow.npy")
    assert np.abs(found - kept).max() < 1e-2 * spread(kept)
    assert np.abs(found[::-1] - kept).max() > spread(kept)


@pytest.mark.parametrize("task", TASKS)
def test_canonical_answers(task: str, shipped: Callable[..., Path]) -> None:
    """What the shipped checkpoint of each task says to its sample, kept in November 2026, is what it says today."""
    bundle = shipped(task)
    with perceiver_runtime.load(bundle, device="cpu") as pipeline:
        found = pipeline.known_answer(Sample.read(bundle / FILE).inputs)
    with np.load(DATA / "canonical" / f"{task}.npz") as kept:
        assert set(kept.files) == set(found)
        for name in kept.files:
            limit = 1e-3 * kept[name].std()
            assert np.abs(found[name] - kept[name]).max() < limit
            assert np.abs(np.roll(found[name], 1) - kept[name]).max() > 100 * limit


def tensors(data: bytes) -> dict[str, tuple[int, list[int]]]:
    """Where each tensor of a safetensors file begins, and its shape."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: (8 + length + entry["data_offsets"][0], entry["shape"]) for name, entry in header.items()}


def test_one_changed_weight_fails_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With every sum in the manifest right: one number in each of the graphs' matrices, one matrix after the other."""
    whole = (GOLDEN / "flow" / "weights.safetensors").read_bytes()
    matrices = {name: place for name, (place, shape) in tensors(whole).items() if len(shape) == 2 and "self_attention" in name}
    assert len(matrices) >= 8
    for number, (name, place) in enumerate(matrices.items()):
        bundle = Path(shutil.copytree(GOLDEN / "flow", tmp_path / str(number)))
        changed = bytearray(whole)
        changed[place : place + 4] = np.float32(10_000).tobytes()
        (bundle / "weights.safetensors").write_bytes(changed)
        files = Manifest.from_json((bundle / "manifest.json").read_bytes()).files
        resealed = FileEntry("weights.safetensors", *file_sha256(bundle / "weights.safetensors"))
        edit_manifest(bundle, files=tuple(resealed if entry.path == resealed.path else entry for entry in files))
        assert main(["verify", str(bundle)]) == 3, name
        assert "the known answer's flow is off by" in capsys.readouterr().err
