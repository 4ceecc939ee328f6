"""ONNX Runtime with a GPU that is not there: its providers compute on the CPU, and write down what they are given.

What is bound to a GPU has to be bound to the session's, as the real one wants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime

GPU_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


class FakeOnnxRuntime:
    """The module, as far as our code uses it."""

    __version__ = onnxruntime.__version__
    SessionOptions, RunOptions = onnxruntime.SessionOptions, onnxruntime.RunOptions

    def __init__(self, *, starts: bool = True, said: str = "") -> None:
        self.starts, self.said = starts, said
        self.events: list[str] = []
        self.sessions: list[Session] = []

    def get_available_providers(self) -> list[str]:
        return [*GPU_PROVIDERS, "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.events.append("preload_dlls")
        print(self.said)

    def InferenceSession(self, model: Any, options: Any, *, providers: Sequence[Any], enable_fallback: int) -> Session:
        self.events.append("InferenceSession")
        self.sessions.append(Session(self, model, options, dict(providers)))
        return self.sessions[-1]


class Session:
    """A session on the CPU that says it is on a GPU."""

    def __init__(self, library: FakeOnnxRuntime, model: Any, options: Any, providers: Mapping[str, Mapping[str, str]]) -> None:
        self.providers = dict(providers)
        self._names = [name for name in providers if library.starts or name not in GPU_PROVIDERS]
        self.gpu = int(next(iter(providers.values())).get("device_id", 0))
        self.bound: list[tuple[str, int]] = []
        self.shrunk: list[str] = []
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return self._names

    def run(self, names: Any, inputs: Any, how: Any = None) -> Any:
        return self.session.run(names, inputs)

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, binding: Binding, how: Any) -> None:
        if how is not None:
            self.shrunk.append(how.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
        self.session.run_with_iobinding(binding.real)


class Binding:
    """GPU memory is the host's."""

    def __init__(self, owner: Session) -> None:
        self._owner, self.real = owner, owner.session.io_binding()

    def _here(self, device: str, number: int) -> None:
        assert number == (self._owner.gpu if device == "cuda" else 0), "memory of another GPU than the session's"
        self._owner.bound.append((device, number))

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self.real.bind_cpu_input(name, array)

    def bind_input(self, name: str, device: str, number: int, dtype: Any, shape: list[int], address: int) -> None:
        self._here(device, number)
        self.real.bind_input(name, "cpu", 0, dtype, shape, address)

    def bind_output(self, name: str, device: str, number: int) -> None:
        self._here(device, number)
        self.real.bind_output(name, "cpu", 0)

    def get_outputs(self) -> Any:
        return self.real.get_outputs()
