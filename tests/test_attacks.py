"""Every attack in tests/attacks, a file each: refused for the reason that the file names, or without any effect.

An attack has `attack(bundle)`, which spoils a copy of a good bundle, and `MESSAGE`, a pattern of the refusal; None for what is
not refused but must change nothing: the answer stays the same to the last bit. `WHEN` it happens: before the bundle is opened,
or once it is "opened" (hashed) or "loaded" (sessions are open).
"""

import gc
import hashlib
import importlib.util
import os
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgery import WEIGHTS, forge, other_weights, reseal
from numpy.typing import NDArray

from perceiver_runtime import IntegrityError
from perceiver_runtime.bundle.graph_check import GraphCheck
from perceiver_runtime.bundle.held_file import HeldFile
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.children import python_module
from perceiver_runtime.tasks.known_answer import Sample
from perceiver_runtime.tasks.loading import open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

ATTACKS = sorted((Path(__file__).parent / "attacks").glob("*.py"))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(bundle: Path, module: Any) -> NDArray[np.float32]:
    """The known answer of a bundle that is attacked when the attack says."""
    when = getattr(module, "WHEN", "")
    inputs = Sample.read(bundle / "sample.npz").inputs
    if not when:
        module.attack(bundle)
    opened = open_bundle(bundle)
    if when == "opened":
        module.attack(bundle)
    with open_pipeline(opened, RuntimeOptions("cpu", threads=1)) as pipeline:
        if when == "loaded":
            module.attack(bundle)
        return np.array(pipeline.known_answer(inputs)["flow"])


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_refused(path: Path, bundle: Path, tiny_bundle: Path) -> None:
    module = loaded(path)
    if module.MESSAGE is None:
        found = answer(bundle, module)
        with open_pipeline(open_bundle(tiny_bundle), RuntimeOptions("cpu", threads=1)) as pipeline:
            expected = pipeline.known_answer(Sample.read(tiny_bundle / "sample.npz").inputs)["flow"]
        np.testing.assert_array_equal(found, expected)
        assert not (bundle.parent / "was-run").exists()
        return
    start = time.process_time()
    with pytest.raises(IntegrityError, match=module.MESSAGE) as refused:
        answer(bundle, module)
    assert time.process_time() - start < 20  # seconds
    assert len(str(refused.value)) < 1000


def test_other_weights_would_show(bundle: Path) -> None:
    """The negative control of attacks on weights: with a manifest that fits, other weights give another answer."""
    inputs, answers = Sample.read(bundle / "sample.npz").inputs, []
    for _ in range(2):
        with open_pipeline(open_bundle(bundle), RuntimeOptions("cpu", threads=1)) as pipeline:
            answers.append(pipeline.known_answer(inputs)["flow"])
        other_weights(bundle)
        reseal(bundle, WEIGHTS, (bundle / WEIGHTS).read_bytes())
    assert np.abs(answers[0] - answers[1]).max() > 1e-3


def test_the_forgery_itself_would_pass(bundle: Path) -> None:
    """Without a change the resealed bundle opens: so each refusal above is for what it says."""
    forge(bundle, lambda model: None)
    open_bundle(bundle)


def test_a_user_sees_one_line(bundle: Path) -> None:
    (bundle / "encode.onnx").write_bytes(b"")
    command = [*python_module("perceiver_runtime"), "run", str(bundle), "--sample"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "encode.onnx has 0 bytes, the manifest says" in done.stderr


def test_touched_weights_are_fine(bundle: Path) -> None:
    """Another time, another name, another mode: the same bytes, and no file is hashed for every run."""
    with open_pipeline(open_bundle(bundle), RuntimeOptions("cpu", threads=1)) as pipeline:
        weights = pipeline.graphs["encode"]._weights  # type: ignore[attr-defined]
        digests = []
        digest = weights._digest
        weights._digest = lambda: digests.append(1) or digest()
        os.utime(bundle / WEIGHTS)
        os.link(bundle / WEIGHTS, bundle.parent / "backup")
        inputs = Sample.read(bundle / "sample.npz").inputs
        for _ in range(3):
            pipeline.known_answer(inputs)
    assert len(digests) == 1


def test_threads_may_find_touched_weights_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1 << 23))
    held = HeldFile(tmp_path / "file")
    held.expect(hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest())
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            os.utime(tmp_path / "file")
            list(pool.map(lambda _: held.check(), range(8)))


def test_small_files_are_hashed_when_they_are_read(bundle: Path) -> None:
    opened = open_bundle(bundle)
    content = (bundle / "sample.npz").read_bytes()
    assert opened.read("sample.npz") == content
    (bundle / "sample.npz").write_bytes(bytes(len(content)))
    with pytest.raises(IntegrityError, match=r"sample.npz is damaged"):
        opened.read("sample.npz")
    with pytest.raises(IntegrityError, match=r"has no other: copy or export the bundle again"):
        opened.read("other")
    with pytest.raises(IntegrityError, match=r"sample.npz is larger than the 10 bytes allowed"):
        opened.read("sample.npz", limit=10)


def test_no_descriptor_stays_open(bundle: Path) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        open_pipeline(open_bundle(bundle), RuntimeOptions("cpu", threads=1)).close()
    assert count() == before


def test_a_surplus_of_bytes_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perceiver_runtime.bundle.reader.MAX_GRAPH_BYTES", 1000)
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
