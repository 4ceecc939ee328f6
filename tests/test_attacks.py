"""Every attack in tests/attacks, a file each: refused when the bundle is opened, for the reason that the file names.

An attack has `attack(bundle)`, which spoils a copy of a good bundle, and `MESSAGE`, a pattern of the refusal.
"""

import importlib.util
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from forgery import WEIGHTS, forge

from perceiver_runtime import IntegrityError
from perceiver_runtime.bundle import open_bundle
from perceiver_runtime.children import python_module
from perceiver_runtime.graph_check import GraphCheck

ATTACKS = sorted((Path(__file__).parent / "attacks").glob("*.py"))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_refused(path: Path, bundle: Path) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.attack(bundle)
    with pytest.raises(IntegrityError, match=module.MESSAGE):
        open_bundle(bundle)


def test_the_forgery_itself_would_pass(bundle: Path) -> None:
    """Without a change the resealed bundle opens: so each refusal above is for what it says."""
    forge(bundle, lambda model: None)
    open_bundle(bundle)


def test_a_user_sees_one_line(bundle: Path) -> None:
    (bundle / "model.py").write_text("import os")
    command = [*python_module("perceiver_runtime"), "run", str(bundle), "--sample"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "which its manifest does not list" in done.stderr


def test_changed_between_check_and_use(bundle: Path) -> None:
    opened = open_bundle(bundle)
    (bundle / "encode.onnx").write_bytes((bundle / "encode.onnx").read_bytes())
    with pytest.raises(IntegrityError, match=r"encode.onnx changed since the bundle was opened"):
        opened.path("encode.onnx")
    (bundle / "decode.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"decode.onnx has gone since"):
        opened.path("decode.onnx")


def test_a_surplus_of_bytes_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perceiver_runtime.bundle.MAX_GRAPH_BYTES", 1000)
    with pytest.raises(IntegrityError, match="more than the 1000 allowed for a graph"):
        open_bundle(bundle)


def test_damaged_encoding_gives_typed_errors_only(tiny_bundle: Path) -> None:
    """Two thousand mutations of a real graph: accepted or `IntegrityError`, never anything else, never endless."""
    bundle = open_bundle(tiny_bundle)
    raw = (tiny_bundle / "decode.onnx").read_bytes()
    check = GraphCheck("decode.onnx", {WEIGHTS: (tiny_bundle / WEIGHTS).stat().st_size})
    source, refused = random.Random(0), 0
    for _ in range(2000):
        mutated = bytearray(raw)
        for _ in range(source.randint(1, 8)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        if source.random() < 0.3:
            del mutated[source.randrange(len(mutated)) :]
        try:
            check.model(bytes(mutated), bundle.manifest.graphs["decode"])
        except IntegrityError:
            refused += 1
    assert 500 < refused < 2000
