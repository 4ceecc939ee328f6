"""The device tensorrt-rtx: engines built ahead of time, checked and run elsewhere; kernels that are kept. On a stand-in."""

import json
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_gpu
import numpy as np
import pytest
from conftest import Once
from fake_engines import exported
from rtx import tensorrt_rtx

import perceiver_runtime as pr
from perceiver_runtime.backends.tensorrt import backend, library
from perceiver_runtime.commands import build as build_command
from perceiver_runtime.commands.main import main
from perceiver_runtime.tasks.known_answer import Sample


class FakeRTX(fake_gpu.FakeTensorRT):
    """The module tensorrt_rtx, as far as our code uses it."""

    __version__, __name__ = "1.7.1.116", "tensorrt_rtx"
    ComputeCapability = IntEnum("ComputeCapability", {"SM86": 86, "SM87": 87, "SM89": 89})

    def __init__(self, device: fake_gpu.Device) -> None:
        super().__init__(device)
        self.compiled: list[bytes] = []  # what contexts were given

    def Builder(self, log: Any) -> Any:
        builder = super().Builder(log)
        builder.create_builder_config = Config  # type: ignore[method-assign]
        return builder

    def Runtime(self, log: Any) -> Any:
        runtime = super().Runtime(log)
        usual = runtime.deserialize_cuda_engine

        def deserialize(plan: bytes) -> Any:
            engine = usual(plan)
            if engine is not None:
                engine.create_runtime_config = lambda: Settings()
                plain = engine.create_execution_context
                engine.create_execution_context = lambda settings: self.compiled.append(settings.cache.data) or plain()
            return engine

        runtime.deserialize_cuda_engine = deserialize
        return runtime


class Config(fake_gpu.IBuilderConfig):
    num_compute_capabilities = 0

    def set_compute_capability(self, capability: Any, place: int) -> None:
        assert place < self.num_compute_capabilities


class Settings:
    """IRuntimeConfig."""

    def create_runtime_cache(self) -> Any:
        cache = SimpleNamespace(data=b"")
        cache.serialize = lambda: cache.data + b"+"
        cache.deserialize = lambda data: setattr(cache, "data", bytes(data))
        return cache

    def set_runtime_cache(self, cache: Any) -> bool:
        self.cache = cache
        return True


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRTX:
    device = fake_gpu.Device()
    stand_in, cuda = FakeRTX(device), fake_gpu.fake_cuda(device)
    for module in (backend, build_command):
        monkeypatch.setattr(module, "tensorrt_rtx", lambda: stand_in)
        monkeypatch.setattr(module, "cuda", lambda: cuda)
    monkeypatch.setenv("PERCEIVER_CACHE", str(tmp_path / "cache"))
    return stand_in


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return exported("PerceiverForImageClassificationFourier", once)


def answer(bundle: Path, device: str = "tensorrt-rtx") -> Any:
    with pr.load(bundle, device=device) as pipeline:
        return pipeline.known_answer(Sample.read(bundle / "sample.npz").inputs)["logits"]


def ahead_of_time(bundle: Path, folder: Path, model: str = "SM87") -> Path:
    assert main(["build", str(bundle), "--device", "tensorrt-rtx", "--gpu", "SM89", model, "-o", str(folder)]) == 0
    return folder


def test_built_elsewhere_and_run_here(
    bundle: Path, rtx: FakeRTX, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of a GPU is asked for while building; nothing is built where it runs."""
    expected = answer(bundle, "cpu")
    with monkeypatch.context() as without_gpu:
        for module in (backend, build_command):
            without_gpu.setattr(module, "cuda", lambda: pytest.fail("a GPU was looked for"))
        folder = ahead_of_time(bundle, tmp_path / "engines")
    rtx.builds.clear()
    assert main(["build", str(bundle), "--device", "tensorrt-rtx", "--from", str(folder)]) == 0
    assert "TensorRT 1.7.1.116" in capsys.readouterr().out
    np.testing.assert_allclose(answer(bundle), expected, rtol=1e-5, atol=1e-5)
    with pr.load(bundle, device="tensorrt-rtx") as pipeline:
        assert pipeline.provider == "TensorRT for RTX 1.7.1.116"
    assert rtx.builds == []
    assert main(["build", "--list"]) == 0
    assert "encode of" in capsys.readouterr().out


def test_kernels_are_kept(bundle: Path, rtx: FakeRTX, tmp_path: Path) -> None:
    """Those of one process are the next one's; a first run is enough."""
    answer(bundle)
    assert rtx.compiled == [b"", b""]
    rtx.compiled.clear()
    pipeline = pr.load(bundle, device="tensorrt-rtx")
    pipeline.known_answer(Sample.read(bundle / "sample.npz").inputs)
    assert rtx.compiled == [b"+", b"+"]
    files = list((tmp_path / "cache/engines").glob("*.kernels"))
    assert [path.read_bytes() for path in files] == [b"++"] * 2  # though it is not closed yet
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    pipeline.close()
    assert main(["build", "--prune", "all"]) == 0
    assert not list((tmp_path / "cache/engines").glob("*.kernels"))


def altered(folder: Path, change: Any) -> None:
    path = folder / "engines.json"
    described = json.loads(path.read_text())
    change(described["encode"])
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda folder: (folder / "decode.engine").write_bytes(b"half"), 4, "decode.engine is damaged"),
        (lambda folder: (folder / "engines.json").unlink(), 2, "has no engines.json: make it with perceiver build"),
        (lambda folder: (folder / "engines.json").write_text("[1]"), 4, "is not one that perceiver build wrote"),
        (lambda folder: altered(folder, lambda each: each.pop("wanted")), 4, "is not one that perceiver build wrote"),
        (
            lambda folder: altered(folder, lambda each: each["wanted"]["options"].update(compute_capabilities=["SM89"])),
            2,
            "is for SM89, this machine's GPU has compute capability 8.7: build it with --gpu SM87",
        ),
        (
            lambda folder: altered(folder, lambda each: each["wanted"]["machine"].update(tensorrt="1.6.0")),
            2,
            "was built by TensorRT for RTX 1.6.0, this machine has tensorrt_rtx 1.7.1.116",
        ),
        (
            lambda folder: altered(folder, lambda each: each["wanted"].update(sha256={"encode.onnx": "0"})),
            2,
            "is of another bundle, or another export of it",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    change: Any, code: int, message: str, bundle: Path, rtx: FakeRTX, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ahead_of_time(bundle, tmp_path / "engines")
    change(folder)
    assert main(["build", str(bundle), "--device", "tensorrt-rtx", "--from", str(folder)]) == code
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("*.engine"))


def test_only_for_rtx(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(bundle), "--from", str(tmp_path)]) == 2
    assert "engines of TensorRT are built on the device that runs them" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["build", str(bundle), "--device", "cuda"])
    assert "engines are built for tensorrt and tensorrt-rtx, not for 'cuda'" in capsys.readouterr().err


def test_without_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "RTX_NAMES", ("a_module_that_is_not_here",))
    with pytest.raises(pr.BackendError, match=r"TensorRT for RTX is not here: pip install 'perceiver-runtime\[tensorrt-rtx\]'"):
        pr.load(bundle, device="tensorrt-rtx")


def test_names_are_real() -> None:
    """Of what only TensorRT for RTX has."""
    trt = tensorrt_rtx()
    assert hasattr(trt.ICudaEngine, "create_runtime_config")
    assert all(hasattr(trt.IRuntimeConfig, name) for name in ("create_runtime_cache", "set_runtime_cache"))
    assert all(hasattr(trt.IRuntimeCache, name) for name in ("serialize", "deserialize"))
    assert "1. create_execution_context" in trt.ICudaEngine.create_execution_context.__doc__
    assert "IRuntimeConfig" in trt.ICudaEngine.create_execution_context.__doc__
