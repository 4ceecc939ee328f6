"""A bundle is used only if it is exactly what was written."""

import os
import shutil
from pathlib import Path

import pytest

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a good bundle, to be spoilt."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_what_is_in_it(tiny_bundle: Path) -> None:
    files = {"README.md", "decode.onnx", "encode.onnx", "manifest.json", "sample.npz", "weights.safetensors"}
    assert set(os.listdir(tiny_bundle)) == files
    bundle = open_bundle(tiny_bundle)
    assert {entry.path for entry in bundle.manifest.files} == files - {"manifest.json"}
    assert bundle.manifest.source.checkpoint == "./tiny"
    assert bundle.manifest.parity["summary"]["cases"] >= 4
    for row in bundle.manifest.parity["cases"]:
        assert row["max_error"] <= row["allowed"] < row["negative_control"]


@pytest.mark.parametrize("name", ["README.md", "decode.onnx", "encode.onnx", "sample.npz", "weights.safetensors"])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_a_flipped_byte_is_refused(bundle: Path, name: str, where: float) -> None:
    path = bundle / name
    raw = bytearray(path.read_bytes())
    raw[int(where * (len(raw) - 1))] ^= 1
    path.write_bytes(raw)
    with pytest.raises(pr.IntegrityError, match=rf"{name} is damaged: its sha256 is not the manifest's"):
        pr.load(bundle)


def test_a_flipped_byte_of_the_manifest_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    raw = path.read_bytes()
    for place in range(0, len(raw), 41):
        for bit in (1, 32):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :])
            with pytest.raises(pr.IntegrityError):
                open_bundle(bundle)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(pr.InputError, match=r"there is no bundle at"):
        pr.load(tmp_path / "nothing")
    with pytest.raises(pr.InputError, match=r"has no manifest.json"):
        pr.load(tmp_path)
