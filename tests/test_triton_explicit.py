"""A real Triton server in explicit mode: a roll-out step by step, as docs/scale.md has it, and what a full queue says."""

import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgery import reseal
from triton_server import Triton, serve

import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
GOLDEN = Path(__file__).parent / "data" / "golden-1.0" / "flow"
FRAMES = [np.random.default_rng(seed).integers(0, 255, (40, 56, 3)).astype(np.uint8) for seed in range(9)]
MODELS = ("flow_encode", "flow_decode")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explicit")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, folder / "flow"))


@pytest.fixture(scope="module")
def server(folder: Path, bundle: Path, triton_python: Path) -> Iterator[Triton]:
    options = ["--backend", "python", "--threads", "1"]
    assert main(["triton", str(bundle), "-o", str(folder / "models"), *options]) == 0
    assert main(["triton", str(bundle), "-o", str(folder / "models"), "--name", "small", *options, "--queue-size", "1"]) == 0
    with serve(triton_python, folder / "models", folder) as running:
        yield running


def states(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted((folder / "models").glob("flow_*/1/**/*"))}


def test_a_roll_out(server: Triton, folder: Path, bundle: Path) -> None:
    models, before = folder / "models", states(folder)
    old = Path(shutil.copytree(bundle, folder / "old"))
    with pr.load(old, device="cpu", threads=1) as local:
        expected = np.asarray(local(FRAMES[0], FRAMES[1]))
    with pr.connect(server.address, bundle=old, name="flow") as first:
        np.testing.assert_array_equal(np.asarray(first(FRAMES[0], FRAMES[1])), expected)
        assert states(folder) == before  # serving a version changes nothing in it
        reseal(bundle, "README.md", b"another export")
        assert main(["triton", str(bundle), "-o", str(models)]) == 0
        server.load(*MODELS)
        with pr.connect(server.address, bundle=bundle) as second:
            np.testing.assert_array_equal(np.asarray(second(FRAMES[0], FRAMES[1])), expected)
            assert second.graphs["encode"]._server._version == "2"  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(first(FRAMES[0], FRAMES[1])), expected)
        assert main(["triton", "-o", str(models), "--remove", "1", "--name", "flow"]) == 0
        server.load(*MODELS)
        begin = time.monotonic()
        with pytest.raises(pr.BackendError, match="serves other bundles as flow"):
            first(FRAMES[0], FRAMES[1])
        assert time.monotonic() - begin < 10
    with pytest.raises(pr.BackendError, match=r"serves other bundles as flow \(version 2 .*give the bundle that is served"):
        pr.connect(server.address, bundle=old, name="flow")


def test_a_version_of_another_bundle_is_not_loaded(server: Triton, folder: Path, bundle: Path) -> None:
    import tritonclient.grpc as triton

    models = folder / "models"
    assert main(["triton", str(bundle), "-o", str(models), "--name", "swapped", "--backend", "python"]) == 0
    config = models / "swapped_encode" / "config.pbtxt"
    config.write_text(config.read_text().replace(open_bundle(bundle).manifest_sha256, "0" * 64))
    with pytest.raises(triton.InferenceServerException, match=r"has the bundle .*config.pbtxt names 000000000000"):
        server.load("swapped_encode")


def test_a_full_queue(server: Triton, bundle: Path, folder: Path) -> None:
    """Two at work or waiting; the rest are told at once, and answered with tries for a while."""
    old = Path(shutil.copytree(GOLDEN, folder / "first"))
    said: list[str] = []

    def ask(flow: Any) -> bool:
        try:
            flow(FRAMES[2], FRAMES[3])
        except pr.BackendError as error:
            said.append(str(error))
            return False
        return True

    with (
        pr.connect(server.address, bundle=old, name="small", retry_for=0) as once,
        pr.connect(server.address, bundle=old, name="small", retry_for=50) as patient,
        ThreadPoolExecutor(12) as pool,
    ):
        answered = sum(pool.map(ask, [once] * 24))
        assert 0 < answered < 24
        assert len(said) == 24 - answered
        assert all(re.search("is busy, the queue of small_(encode|decode) is full", message) for message in said)
        assert all(pool.map(ask, [patient] * 24))
