"""Running a bundle's graphs on ONNX Runtime: the only module that imports it.

Sessions are given the bytes that graph_check.py wrote, and the weights by a name that leads through the descriptor that was
hashed: ONNX Runtime maps them and lets go of what it packs, so loading takes little more memory than the weights. Memory goes
back after each run, so that the peak stays near what one run needs: the CPU memory arena and the memory pattern are off. A
graph that may keep the little it needs has the arena, for speed. On a GPU, what one graph gives another stays there;
ort_providers.py has the options of its sessions.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.cores import available_cores
from perceiver_runtime.backends.cuda import check_gpu
from perceiver_runtime.backends.device import Arithmetic, Device, OpenOptions, reason
from perceiver_runtime.backends.ort_providers import BY_DEVICE, CPU, PROVIDERS, TENSORRT, Session, line, load_libraries
from perceiver_runtime.backends.tensorrt.cache import kept_by_onnxruntime
from perceiver_runtime.bundle.graph_check import CheckedGraph
from perceiver_runtime.bundle.held_file import HeldFile, steadily
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.memory_plan import ArenaPolicy
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import BackendError, InputError, IntegrityError, NotFiniteError, ProviderFallbackWarning
from perceiver_runtime.common.telemetry import import_onnxruntime

_OLDEST = (1, 20)  # that was tried
_FOLDER_OF_WEIGHTS = (1, 21)  # takes one for a graph that is given as bytes
_NO_SUCH_INDEX = "indices element out of data bounds"  # how ONNX Runtime says so
_LOG_ERRORS_ONLY = 3  # a severity of ONNX Runtime


def choose_providers(device: str) -> tuple[str, ...]:
    """The execution providers for `device`: `auto` takes CUDA where this ONNX Runtime has it, else the CPU.

    Raises `BackendError` for a device that this machine's ONNX Runtime lacks.
    """
    available = onnxruntime().get_available_providers()
    if device == "auto":
        device = "cuda" if BY_DEVICE["cuda"][0] in available else "cpu"
    if BY_DEVICE[device][0] not in available:
        raise BackendError(
            f"device {device!r} needs ONNX Runtime's {BY_DEVICE[device][0]}, this one has {', '.join(available)}: "
            "pip install 'onnxruntime-gpu[cuda,cudnn]' in place of onnxruntime, or use device='cpu'"
        )
    return BY_DEVICE[device]


class OnnxGraph:
    """One graph, ready to run. Threads may share it."""

    arithmetic: Arithmetic = "float32"

    def __init__(
        self,
        graph: CheckedGraph,
        weights: HeldFile | None,
        entry: GraphEntry,
        *,
        device: str = "auto",
        threads: int | None = None,
        arena_policy: Callable[[Mapping[str, Tensor]], bool] | None = None,
        session: Session | None = None,
    ) -> None:
        """Open the graph. `threads` defaults to what cores.py says; `arena_policy` says whether a run with these
        inputs may keep its memory for the next one, none may by default; options of a GPU depend on `session`.

        A named device whose provider does not start is a `BackendError`; with `auto` the CPU takes over, with a
        `ProviderFallbackWarning`.
        """
        library = onnxruntime()
        providers = choose_providers(device)
        options = library.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.enable_cpu_mem_arena = arena_policy is not None
        options.enable_mem_pattern = False
        options.log_severity_level = _LOG_ERRORS_ONLY
        # else threads of the graph that ran last go on spinning, on cores that the next graph's threads want
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # 8 bits for TensorRT are computed as the graph says, not as integers; its rewriting of float8 also makes invalid graphs
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        again = int(len(providers) > 1)  # else it would say on stdout that it tries the same once more
        session = session or Session("fp32")
        missing = load_libraries(library) if PROVIDERS[providers[0]].memory != "cpu" else ""
        given = [(name, dict(PROVIDERS[name].options(session))) for name in providers]

        def new_session() -> Any:
            with _given(graph, weights, options) as model:
                return library.InferenceSession(model, options, providers=given, enable_fallback=again)

        try:
            self._session: Any = steadily(new_session)
        except IntegrityError:
            raise
        except Exception as error:  # ONNX Runtime raises a dozen kinds, all of its own
            raise BackendError(f"ONNX Runtime {library.__version__} cannot load {graph.name}: {error}") from error
        self.name = graph.name
        self.entry = entry
        self._weights = weights if graph.weights else None
        self._arena_policy = arena_policy
        first: str = self._session.get_providers()[0]
        self._memory = PROVIDERS[first].memory
        self._bound = self._memory != "cpu"  # what graphs give each other stays on the GPU
        self._gpu = session.gpu if self._bound else 0
        self.provider = line(first, self._gpu)
        self._shrink: Any = library.RunOptions()
        self._shrink.add_run_config_entry(
            "memory.enable_memory_arena_shrinkage", f"{'gpu' if self._bound else 'cpu'}:{self._gpu}"
        )
        self._shrinks = session.max_memory is not None  # on a GPU; on a CPU the policy says
        if first != providers[0]:
            message = (
                f"{self.name} runs on {first}: ONNX Runtime could not start {providers[0]} "
                f"({missing or 'its libraries do not load'}; check the driver, and which CUDA, cuDNN and TensorRT it needs)"
            )
            if device != "auto":
                raise BackendError(f"{message}. Use device='cpu', or 'auto' for whatever starts")
            warnings.warn(message, ProviderFallbackWarning, stacklevel=3)

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The graph's outputs in order, for inputs by name. Raises `BackendError` if it fails or gives NaN or infinity."""
        self._check_weights()
        if not self._bound:
            how = None if self._arena_policy is None or self._arena_policy(inputs) else self._shrink
            outputs: list[NDArray[np.float32]] = self._checked(lambda: self._session.run(None, dict(inputs), how))
        else:
            outputs = [value.numpy() for value in self._run_bound(inputs, "cpu")]
        for spec, output in zip(self.entry.outputs, outputs):
            if not np.isfinite(output).all():
                raise NotFiniteError(f"{self.name} gave NaN or infinity in its output {spec.name}")
        return outputs

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, which stay in the GPU's memory if they are computed there. Raises `BackendError`."""
        if not self._bound:
            return list(self.run(inputs))
        self._check_weights()
        return [OrtArray(value, self._memory, self._gpu) for value in self._run_bound(inputs, self._memory)]

    def _check_weights(self) -> None:
        if self._weights is not None:
            self._weights.check()

    def _run_bound(self, inputs: Mapping[str, Tensor], where: str) -> list[Any]:
        """OrtValues of the outputs, in the memory `where`."""
        binding = self._checked(lambda: self._session.io_binding())
        for spec in self.entry.inputs:
            value = inputs[spec.name]
            if isinstance(value, OrtArray):
                dtype = np.dtype(spec.dtype)
                binding.bind_input(spec.name, value.memory, value.gpu, dtype, list(value.shape), value.address)
            else:
                binding.bind_cpu_input(spec.name, np.ascontiguousarray(value, spec.dtype))
        for spec in self.entry.outputs:
            binding.bind_output(spec.name, where, 0 if where == "cpu" else self._gpu)
        how = self._shrink if self._shrinks else None
        self._checked(lambda: self._session.run_with_iobinding(binding, how))
        outputs: list[Any] = binding.get_outputs()
        return outputs

    def _checked(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:
            if _NO_SUCH_INDEX in str(error):  # of ids that the caller gave: the graph's own are constants
                raise InputError(f"{self.name} has no such index: {str(error)[str(error).index(_NO_SUCH_INDEX) :]}") from error
            raise BackendError(f"{self.name} failed while running: {error}") from error

    def close(self) -> None:
        """Release the session and its memory."""
        self._session, self._weights = _Closed(), None


def _on(device: str) -> Callable[[Bundle, Sequence[str], OpenOptions], dict[str, OnnxGraph]]:
    def open_graphs(bundle: Bundle, names: Sequence[str], options: OpenOptions) -> dict[str, OnnxGraph]:
        graphs: dict[str, OnnxGraph] = {}
        here = device
        if options.gpu:
            check_gpu(options.gpu)
        for name in names:
            policy = ArenaPolicy.of(bundle.manifest, name) if options.keep else None
            graph, entry = bundle.graph(name), bundle.manifest.graphs[name]
            graphs[name] = OnnxGraph(
                graph,
                bundle.weights,
                entry,
                device=here,
                threads=options.threads,
                arena_policy=policy,
                session=_session(bundle, name, here, options),
            )
            if here == "auto" and graphs[name].provider == CPU.name:
                here = "cpu"  # what did not start, and was warned of, is not tried again
        return graphs

    return open_graphs


def _session(bundle: Bundle, name: str, device: str, options: OpenOptions) -> Session:
    """What a graph's options depend on."""
    manifest = bundle.manifest
    dynamic = any(isinstance(size, str) for spec in manifest.graphs[name].inputs for size in spec.shape)
    session = Session(manifest.precision, options.gpu, dynamic, options.max_memory)
    if TENSORRT.name not in BY_DEVICE.get(device, ()):
        return session
    load_libraries(onnxruntime())
    engines, timings = kept_by_onnxruntime(bundle, name, onnxruntime().__version__, options.gpu)
    return replace(session, engines=engines, timings=timings)


def _reason(device: str) -> Callable[[Bundle], str]:
    return lambda bundle: reason(lambda: choose_providers(device))


ORT_CPU = Device("cpu", _on("cpu"), _reason("cpu"), is_cpu=True, planned=True)
ORT_CUDA = Device("cuda", _on("cuda"), _reason("cuda"), planned=True, numbered=True)
ORT_TENSORRT = Device("ort-tensorrt", _on("ort-tensorrt"), _reason("ort-tensorrt"), numbered=True)
ORT_BEST = Device("auto", _on("auto"), _reason("auto"))  # CUDA where this ONNX Runtime has it and it starts, else the CPU


class OrtArray:
    """Part of an OrtValue: a `perceiver_runtime.common.arrays.DeviceArray`."""

    def __init__(self, value: Any, memory: str, gpu: int = 0, shape: tuple[int, ...] | None = None, offset: int = 0) -> None:
        self.value, self.memory, self.gpu, self.offset = value, memory, gpu, offset
        self.shape = tuple(value.shape()) if shape is None else shape

    @property
    def address(self) -> int:
        """Of the first value."""
        return int(self.value.data_ptr()) + self.offset

    def rows(self, start: int, stop: int) -> OrtArray:
        """`[:, start:stop]` of a batch of one."""
        if self.shape[0] != 1 or not 0 <= start <= stop <= self.shape[1]:
            raise ValueError(f"rows {start} to {stop} of an array of shape {self.shape}")
        row = 4 * math.prod(self.shape[2:])  # float32, as all that graphs give
        return OrtArray(self.value, self.memory, self.gpu, (1, stop - start, *self.shape[2:]), self.offset + start * row)

    def numpy(self) -> Array:
        """A copy in the host's memory."""
        first = self.offset // 4
        whole: Array = self.value.numpy()
        return whole.reshape(-1)[first : first + math.prod(self.shape)].reshape(self.shape)


class _Closed:
    def run(self, *_: object) -> None:
        raise RuntimeError("this pipeline was closed: load the bundle again")

    io_binding = run


@contextlib.contextmanager
def _given(graph: CheckedGraph, weights: HeldFile | None, options: Any) -> Iterator[bytes | str]:
    """What a session is made of meanwhile: the graph's bytes, with `options` that lead to the weights; or a private file."""
    if graph.weights is None or weights is None:
        yield graph.content
    elif _version() >= _FOLDER_OF_WEIGHTS:
        with weights.named(wait=False) as (folder, name):  # a run checks them
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            yield graph.located(name)
    else:
        with tempfile.TemporaryDirectory(prefix="perceiver-") as folder:
            (Path(folder) / "weights").symlink_to(weights.address)
            path = Path(folder) / "graph.onnx"
            path.write_bytes(graph.located("weights"))
            yield str(path)


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in onnxruntime().__version__.split(".")[:2])


def onnxruntime() -> Any:
    """The module. Raises `BackendError` that says how to get it, or one that is not too old."""
    try:
        library = import_onnxruntime()
    except ImportError as error:
        raise BackendError(
            f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime, or 'onnxruntime-gpu[cuda,cudnn]' for a GPU"
        ) from error
    if tuple(int(part) for part in library.__version__.split(".")[:2]) < _OLDEST:
        raise BackendError(f"ONNX Runtime {library.__version__} is too old: pip install --upgrade 'onnxruntime>=1.20'")
    return library
