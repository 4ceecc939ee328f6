"""A GPU that is not there: stand-ins for libcudart and TensorRT, which compute on the host with ONNX Runtime.

They have the names of the real ones and nothing else (tests look them up), fail as those do (return codes, None, False), and
write down every call. An "engine" is the path of its graph with its profiles; queued work waits until its stream is waited
for, so that a copy or a run that nobody waits for shows as a wrong answer. What NVIDIA's documents forbid is refused: launching
what was recorded before its context was changed, and allocating or freeing in a thread that records.
"""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import tempfile
import weakref
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from fake_cuda import Device, fake_cuda

__all__ = ["Device", "FakeTensorRT", "fake_cuda"]

MAGIC = b"fake engine "


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = 0, 1, 2

    def __init__(self) -> None:
        pass


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class TensorIOMode(IntEnum):
    NONE, INPUT, OUTPUT = 0, 1, 2


class FakeTensorRT:
    """The module `tensorrt`, as far as our code uses it."""

    __version__, __name__ = "10.3.0", "tensorrt"
    ILogger, IProgressMonitor, TensorIOMode = ILogger, IProgressMonitor, TensorIOMode
    NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
    BuilderFlag = IntEnum("BuilderFlag", {"TF32": 7})
    MemoryPoolType = IntEnum("MemoryPoolType", {"WORKSPACE": 0})

    def __init__(self, device: Device) -> None:
        self.device = device
        self.builds: list[str] = []
        self.fail_build = ""  # what the log says, in place of an engine
        self.fail_run = False
        self.raising = ""  # the function that raises RuntimeError
        self.most_contexts = 1000  # that there is room for
        self.built = lambda: None

    def raise_in(self, name: str) -> None:
        if self.raising == name:
            raise RuntimeError("CUDA error: unspecified launch failure")

    def nptype(self, dtype: Any) -> Any:
        return dtype

    def Builder(self, log: Any) -> Any:
        return Builder(self, log)

    def OnnxParser(self, network: Any, log: Any) -> Any:
        def parse(content: bytes, path: str) -> bool:
            folder = Path(tempfile.mkdtemp())  # as an engine does, it keeps what it was given
            shutil.copy(next(Path(path).resolve().parent.glob("*.safetensors")), folder / "weights.safetensors")
            (folder / Path(path).name).write_bytes(content)
            network["path"] = str(folder / Path(path).name)
            return True

        return SimpleNamespace(parse=parse, num_errors=0)

    def Runtime(self, log: Any) -> Any:
        return Runtime(self, log)


class Builder:
    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self._trt, self._log = trt, log

    def create_network(self, flags: int) -> dict[str, str]:
        assert flags == 1 << 1
        return {}

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: dict[str, str], config: IBuilderConfig) -> bytes | None:
        self._trt.raise_in("build_serialized_network")
        self._trt.builds.append(Path(network["path"]).name)
        config.progress_monitor.phase_start("Tactic timing", None, 1)
        self._trt.built()
        if not config.progress_monitor.step_complete("Tactic timing", 0):
            return None
        if self._trt.fail_build:
            self._log.log(ILogger.ERROR, self._trt.fail_build)
            return None
        return MAGIC + json.dumps({"path": network["path"], "profiles": config._profiles}).encode()


class IBuilderConfig:
    def __init__(self) -> None:
        self._profiles: list[dict[str, Any]] = []

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        pass

    def clear_flag(self, flag: Any) -> None:
        pass

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile._shapes)
        return len(self._profiles) - 1

    def create_timing_cache(self, data: bytes) -> Any:
        return SimpleNamespace(serialize=lambda: data + b".")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self._shapes[name] = [list(least), list(best), list(most)]


class Runtime:
    def __init__(self, trt: FakeTensorRT, log: Any) -> None:
        self._trt, self._log = trt, log

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        self._trt.raise_in("deserialize_cuda_engine")
        if not plan.startswith(MAGIC):
            self._log.log(ILogger.ERROR, "magic tag does not match")
            return None
        return ICudaEngine(self._trt, self._log, **json.loads(plan[len(MAGIC) :]))


class ICudaEngine:
    def __init__(self, trt: FakeTensorRT, log: Any, path: str, profiles: list[dict[str, Any]]) -> None:
        self._trt, self._log, self._profiles = trt, log, profiles
        self.num_optimization_profiles = len(profiles)
        self._session: Any = onnxruntime.InferenceSession(path)
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]
        self.num_io_tensors = len(self._inputs) + len(self._outputs)

    def get_tensor_name(self, number: int) -> str:
        return [*self._inputs, *self._outputs][number]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return np.int64 if name in self._inputs and "int64" in self._inputs[name].type else np.float32

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        return self._profiles[profile_index][name]

    def create_execution_context(self) -> Any:
        self._trt.raise_in("create_execution_context")
        if len(self._trt.device.contexts) >= self._trt.most_contexts:
            self._log.log(ILogger.ERROR, "out of memory")
            self._trt.device.on_call("create_execution_context failed")
            return None
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        engine._trt.device.contexts.add(self)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._profile = 0
        self._changes = 0
        self._known: dict[Any, dict[str, tuple[int, ...]]] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine._profiles[self._profile][name]
        if len(shape) != len(least) or not all(low <= size <= high for low, size, high in zip(least, shape, most)):
            return False
        self._shapes[name] = shape
        self._changes += 1
        return True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self._engine._trt.device.streams
        self._engine._trt.device.calls.append("set_optimization_profile_async")
        self._profile, self._shapes = profile_index, {}
        self._changes += 1
        return profile_index < len(self._engine._profiles)

    def infer_shapes(self) -> list[str]:
        self._engine._trt.raise_in("infer_shapes")
        return [name for name in self._engine._inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        key = tuple(sorted(self._shapes.items()))
        if key not in self._known:
            zeros = {each: np.ones(shape, self._engine.get_tensor_dtype(each)) for each, shape in self._shapes.items()}
            outputs = self._engine._session.run(None, zeros)
            self._known[key] = {each: output.shape for each, output in zip(self._engine._outputs, outputs)}
        return self._known[key][name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        self._changes += 1
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine, shapes, addresses = self._engine, dict(self._shapes), dict(self._addresses)
        changes, alive = self._changes, weakref.ref(self)
        engine._trt.raise_in("execute_async_v3")
        engine._trt.device.calls.append("execute_async_v3")
        engine._trt.device.on_call("execute_async_v3")
        if engine._trt.fail_run:
            engine._log.log(ILogger.ERROR, "an illegal memory access was encountered")
            return False

        def work() -> None:
            context = alive()
            assert context is not None
            assert context._changes == changes, "the context was changed since this was recorded"
            inputs = {name: at(addresses[name], shape, engine.get_tensor_dtype(name)) for name, shape in shapes.items()}
            for name, output in zip(engine._outputs, engine._session.run(None, inputs)):
                at(addresses[name], output.shape, output.dtype)[...] = output

        engine._trt.device.queue(stream, work)
        return True


def at(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """The memory of a tensor."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)
