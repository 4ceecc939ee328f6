"""Engines in the cache: built once, built again where anything they depend on changed, refused where others may write."""

import dataclasses
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Once
from fake_engines import GPU, cached, exported, installed

import perceiver_runtime as pr
from perceiver_runtime.backends.tensorrt import backend, cache
from perceiver_runtime.backends.tensorrt.builder import BuildOptions
from perceiver_runtime.backends.tensorrt.machine import Machine
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.known_answer import Sample


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GPU:
    return installed(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def image_bundle(once: Once) -> Path:
    return exported("PerceiverForImageClassificationFourier", once)


def answer(bundle: Path) -> Any:
    with pr.load(bundle, device="tensorrt") as pipeline:
        return pipeline.known_answer(Sample.read(bundle / "sample.npz").inputs)["logits"]


def test_built_once_and_said(image_bundle: Path, gpu: GPU, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    answer(image_bundle)
    assert [record.message.split(":")[1] for record in caplog.records] == [" this takes minutes, once"] * 2
    answer(image_bundle)
    assert gpu.trt.builds == ["encode.onnx", "decode.onnx"]
    folder = tmp_path / "cache/engines"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Machine)])
def test_another_machine_builds_again(
    field: str, image_bundle: Path, gpu: GPU, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A changed driver, another TensorRT, another GPU, …"""
    answer(image_bundle)
    here = Machine.here(gpu.trt, gpu.cuda)
    other = dataclasses.replace(here, **{field: "another"})
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, trt, cuda: other))
    answer(image_bundle)
    assert gpu.trt.builds == ["encode.onnx", "decode.onnx"] * 2
    assert len(cached(tmp_path)) == 4


def test_every_option_is_in_the_key(image_bundle: Path, gpu: GPU) -> None:
    """Each option that changes an engine changes its key; a new one has to be sorted here."""
    store = backend.Engines(open_bundle(image_bundle))
    options = {"workspace": 100, "optimization_level": 2, "compute_capabilities": ("SM86",)}
    assert set(options) == {field.name for field in dataclasses.fields(BuildOptions)}
    keys = {store.wanted("encode", (), BuildOptions(**{name: value})).key for name, value in options.items()}  # type: ignore[arg-type]
    assert len(keys | {store.wanted("encode", (), BuildOptions()).key}) == len(options) + 1
    fields = {"graph", "sha256", "schema_version", "precision", "runtime", "profiles", "options", "machine"}
    assert fields == set(store.wanted("encode", (), BuildOptions()).to_json())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def exchange(tmp_path: Path) -> None:
    first, second = cached(tmp_path)
    first_data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_data)


@pytest.mark.parametrize(
    ("what", "builds"),
    [
        (lambda folder: flip(cached(folder)[0]), 1),
        (lambda folder: cached(folder)[0].write_bytes(b""), 1),
        (lambda folder: cached(folder)[0].with_suffix(".json").write_text("{}"), 1),
        (lambda folder: cached(folder)[0].with_suffix(".json").write_text("[" * 20000), 1),
        (lambda folder: cached(folder)[0].with_suffix(".json").unlink(), 1),
        (exchange, 2),
    ],
)
def test_a_stale_cache_is_built_again(what: Any, builds: int, image_bundle: Path, gpu: GPU, tmp_path: Path) -> None:
    expected = answer(image_bundle)
    what(tmp_path)
    gpu.trt.builds.clear()
    np.testing.assert_array_equal(answer(image_bundle), expected)
    assert len(gpu.trt.builds) == builds


def test_an_engine_that_does_not_fit_is_built_again(
    image_bundle: Path, gpu: GPU, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole, and as described, but TensorRT refuses it."""
    expected = answer(image_bundle)
    path = cached(tmp_path)[0]
    path.write_bytes(b"of another TensorRT")
    description = json.loads(path.with_suffix(".json").read_text())
    description["sha256"] = cache.hashlib.sha256(b"of another TensorRT").hexdigest()
    path.with_suffix(".json").write_text(json.dumps(description))
    np.testing.assert_array_equal(answer(image_bundle), expected)
    assert "does not fit TensorRT 10.3.0 or this GPU (magic tag does not match): building it again" in caplog.text


def test_a_cache_that_cannot_be_written_to(
    image_bundle: Path, gpu: GPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, half way through: the engine is used, the loss is said, nothing is left."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    assert np.isfinite(answer(image_bundle)).all()
    assert "could not be kept and will be built again next time" in caplog.text
    assert "No space left on device" in caplog.text
    assert [path.suffix for path in (tmp_path / "cache/engines").iterdir()] == [".lock", ".lock"]


def test_a_cache_open_to_others_is_refused(image_bundle: Path, gpu: GPU, tmp_path: Path) -> None:
    folder = tmp_path / "cache/engines"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(pr.BackendError, match=r"open to others, and engines run as code: remove it, or chmod 700"):
        pr.load(image_bundle, device="tensorrt")
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(pr.BackendError, match=r"is a link"):
        pr.load(image_bundle, device="tensorrt")


def test_two_at_once_build_once(image_bundle: Path, gpu: GPU, caplog: pytest.LogCaptureFixture) -> None:
    """The lock is the file's, so threads stand for processes; the second waits in the first one's build."""
    second: list[threading.Thread] = []

    def built() -> None:
        if not second:
            second.append(threading.Thread(target=answer, args=(image_bundle,)))
            second[0].start()
            while "another process is building this engine: waiting for it" not in caplog.text:
                assert second[0].is_alive()

    gpu.trt.built = built
    with caplog.at_level(logging.WARNING):
        answer(image_bundle)
    second[0].join()
    assert sorted(gpu.trt.builds) == ["decode.onnx", "encode.onnx"]


def test_a_failed_build_leaves_nothing(image_bundle: Path, gpu: GPU, tmp_path: Path) -> None:
    gpu.trt.fail_build = "no implementation for node encoder.cross_attention/MatMul"
    with pytest.raises(pr.BackendError, match=r"cannot build encode.onnx: no implementation for node encoder.cross_attention"):
        pr.load(image_bundle, device="tensorrt")
    assert gpu.trt.builds == ["encode.onnx"]  # not tried again: it takes minutes
    gpu.trt.fail_build = ""
    gpu.trt.built = lambda: os.kill(os.getpid(), 2)
    assert main(["build", str(image_bundle)]) == 130
    assert [path.suffix for path in (tmp_path / "cache/engines").iterdir()] == [".lock"]


def test_list_and_prune(
    image_bundle: Path, gpu: GPU, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["build", "--list"]) == 0
    assert "no engines" in capsys.readouterr().out
    assert main(["build", str(image_bundle), "--json"]) == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert sorted(each["path"] for each in engines) == [str(path) for path in cached(tmp_path)]
    assert main(["build", "--list"]) == 0
    assert f"encode of {image_bundle}" in capsys.readouterr().out
    assert main(["build", "--prune"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    cached(tmp_path)[0].with_suffix(".json").write_text("{}")
    assert main(["build", "--list"]) == 0
    assert "not whole" in capsys.readouterr().out
    assert main(["build", "--prune"]) == 0
    assert len(cached(tmp_path)) == 1
    gpu.trt.__version__ = "10.9.0"  # type: ignore[misc]
    assert main(["build", "--prune"]) == 0
    assert cached(tmp_path) == []
    assert main(["build"]) == 2
    assert "give a bundle to build, or --list, or --prune" in capsys.readouterr().err
