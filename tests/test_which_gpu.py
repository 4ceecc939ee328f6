"""Which GPU: TensorRT on the one of a number, or calls spread over several, on stand-ins that know where memory is."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import pytest
from conftest import Once
from fake_engines import exported

import perceiver_runtime as pr
from perceiver_runtime.backends.spread import Balance, SpreadArray, SpreadGraph
from perceiver_runtime.backends.tensorrt import backend, machine
from perceiver_runtime.commands import build as build_command
from perceiver_runtime.commands.main import main
from perceiver_runtime.common.arrays import gather_rows

FRAMES = np.random.default_rng(0).integers(0, 255, (2, 40, 56, 3), np.uint8)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> fake_gpu.Device:
    """Two."""
    device = fake_gpu.Device(gpus=2)
    trt, cuda = fake_gpu.FakeTensorRT(device), fake_gpu.fake_cuda(device)
    for module in (backend, build_command):
        monkeypatch.setattr(module, "tensorrt", lambda: trt)
        monkeypatch.setattr(module, "cuda", lambda: cuda)
    monkeypatch.setattr(machine, "gpu_name", lambda gpu: f"card {gpu}")
    monkeypatch.setenv("PERCEIVER_CACHE", str(tmp_path / "cache"))
    return device


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return exported("PerceiverForOpticalFlow", once)


@pytest.fixture(scope="module")
def expected(bundle: Path) -> Any:
    with pr.load(bundle, device="cpu") as flow:
        return flow(*FRAMES, query_chunk=700)


def used(device: fake_gpu.Device) -> set[int]:
    """The GPUs that something was put on."""
    return set(device.where.values())


def test_the_gpu_of_a_number(bundle: Path, gpus: fake_gpu.Device, expected: Any, tmp_path: Path) -> None:
    with pr.load(bundle, device="tensorrt:1") as flow:
        assert flow.provider == "TensorRT 10.3.0 (GPU 1)"
        for _ in range(3):
            np.testing.assert_allclose(flow(*FRAMES, query_chunk=700), expected, rtol=1e-5, atol=1e-6)
    assert used(gpus) == {1}
    with pr.load(bundle, device="tensorrt") as flow:
        assert flow.provider == "TensorRT 10.3.0"
        flow(*FRAMES, query_chunk=700)
    assert used(gpus) == {0, 1}
    described = [json.loads(path.read_text()) for path in (tmp_path / "cache/engines").glob("*.json")]
    assert sorted(each["wanted"]["machine"]["gpu"] for each in described) == ["card 0"] * 2 + ["card 1"] * 2
    assert not any(gpus.held.values())


def test_a_gpu_that_is_not_there(bundle: Path, gpus: fake_gpu.Device, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(pr.BackendError, match=r"there is no GPU 2 here: CUDA finds 2, numbered from 0"):
        pr.load(bundle, device="tensorrt:2")
    assert main(["verify", str(bundle), "--device", "tensorrt:2"]) == 5
    with pytest.raises(SystemExit):
        main(["verify", str(bundle), "--device", "tensorrt:two"])
    assert "unknown device 'tensorrt:two': give a name, and for a GPU its number, such as cuda:1" in capsys.readouterr().err
    assert main(["verify", str(bundle), "--device", "tensorrt:1"]) == 0
    assert "TensorRT 10.3.0 (GPU 1)" in capsys.readouterr().out
    assert used(gpus) == {1}


def test_calls_are_spread(bundle: Path, gpus: fake_gpu.Device, expected: Any) -> None:
    """Four threads on two GPUs; features are decoded where they are; closing closes both."""
    with pr.load(bundle, device=["tensorrt:0", "tensorrt:1"]) as flow:
        with ThreadPoolExecutor(4) as threads:
            fields = list(threads.map(lambda _: flow(*FRAMES, query_chunk=700), range(8)))
        for field in fields:
            np.testing.assert_allclose(field, expected, rtol=1e-5, atol=1e-6)
        assert used(gpus) == {0, 1}
    with pytest.raises(pr.BackendError, match=r"this pipeline was closed"):
        flow(*FRAMES)
    assert not any(gpus.held.values())


def test_one_that_cannot_be_opened_closes_the_others(bundle: Path, gpus: fake_gpu.Device) -> None:
    with pytest.raises(pr.BackendError, match=r"there is no GPU 5"):
        pr.load(bundle, device="tensorrt:0,tensorrt:5")
    assert not any(gpus.held.values())


class Slow:
    """A graph that counts how many calls it has at once."""

    def __init__(self, gate: threading.Barrier) -> None:
        self.name, self.entry, self.provider, self.arithmetic = "slow", None, "slow", "float32"
        self._gate = gate

    def run(self, inputs: Any) -> Any:
        self._gate.wait(timeout=30)  # passes only when each device has one
        return [np.zeros(1)]


def test_the_device_with_the_fewest_calls_is_taken() -> None:
    gate = threading.Barrier(3)
    graph = SpreadGraph([Slow(gate) for _ in range(3)], Balance(3))  # type: ignore[arg-type,list-item]
    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            assert len(list(threads.map(lambda _: graph.run({}), range(3)))) == 3


def test_balance_counts() -> None:
    balance = Balance(2)
    with balance.call(None) as first, balance.call(None) as second:
        assert {first, second} == {0, 1}
        with balance.call(1), balance.call(None) as third:
            assert third == 0
    with balance.call(1), balance.call(None) as other:
        assert other == 0


class Rows:
    """A device array that cannot gather."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape = array, array.shape

    def numpy(self) -> Any:
        return self.array

    def rows(self, start: int, stop: int) -> Any:
        return Rows(self.array[:, start:stop])


def test_arrays_know_their_device() -> None:
    values = np.arange(12.0).reshape(1, 6, 2)
    array = SpreadArray(Rows(values), 1)
    np.testing.assert_array_equal(gather_rows(array, np.array([4, 1])), values[:, [4, 1]])
    some = gather_rows(array, np.array([2, 3]))
    assert isinstance(some, SpreadArray)
    assert some.place == 1
    np.testing.assert_array_equal(some.numpy(), values[:, 2:4])
