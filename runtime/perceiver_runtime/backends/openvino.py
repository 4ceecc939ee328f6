"""Running a bundle's graphs on OpenVINO's CPU plugin: the only module that imports it; openvino_waves.py works on its models.

It is given the bytes that graph_check.py wrote, and the weights as a mapping of the file that was hashed.

For x86 processors, where it is faster than ONNX Runtime and takes more memory. In float32, or (`openvino-bf16`) with products
in bfloat16 on processors that have them; int8 bundles keep their integer weights, and activations are quantized in groups of
`_GROUP` channels of each row.

For sizes that may change OpenVINO gives each group of a large attention's scores memory of its own: flow's encoder then takes
3 GB. So a large encoder is compiled for the sizes that it is given, and takes turns with the other graphs at having memory.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.cores import available_cores
from perceiver_runtime.backends.device import Arithmetic, Device, OpenOptions, reason
from perceiver_runtime.backends.openvino_waves import cut_waves, sinusoids
from perceiver_runtime.bundle.graph_check import CheckedGraph
from perceiver_runtime.bundle.held_file import HeldFile, steadily
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.memory_plan import encodes_large
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Tensor, on_host
from perceiver_runtime.common.errors import BackendError, IntegrityError, NotFiniteError
from perceiver_runtime.common.telemetry import import_openvino

_HINTS = {"openvino": "f32", "openvino-bf16": "bf16"}
_IN_MEMORY = "*/_ORT_MEM_ADDR_/*"  # a location that makes an offset an address: OpenVINO refuses paths outside one folder
_GROUP = 256  # fill-mask at its published size: 0.21 s against 0.28 s with groups of 32, the same error


class OpenVinoGraph:
    """One graph, ready to run. Threads may share it."""

    def __init__(
        self,
        graph: CheckedGraph,
        weights: HeldFile | None,
        entry: GraphEntry,
        *,
        device: str,
        precision: str,
        threads: int | None = None,
        large: bool = False,
    ) -> None:
        """Compile the graph, of a bundle of `precision`. `threads` defaults to what cores.py says. A `large` one is compiled
        at its first run, for the sizes of its inputs, and again where they change; it keeps no memory between runs.

        Raises `BackendError` where OpenVINO is missing, cannot compile the graph, or the processor has no bfloat16.
        """
        library, core = openvino(), check_processor(device)
        core.add_extension(library.frontend.onnx.ConversionExtension("DynamicQuantizeMatMul", "com.microsoft", _weights_only))
        core.add_extension(library.frontend.onnx.ConversionExtension("MatMulIntegerToFloat", "com.microsoft", _float_product))
        options = {"INFERENCE_NUM_THREADS": threads or available_cores(), "INFERENCE_PRECISION_HINT": _HINTS[device]}
        if precision == "int8":
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
        self.name, self.entry = graph.name, entry
        self.arithmetic: Arithmetic = "bfloat16" if _HINTS[device] == "bf16" else "float32"
        self.provider = f"OpenVINO {library.__version__.partition('-')[0]} {_HINTS[device]}"
        try:
            model = steadily(lambda: _read(core, graph, weights))
            exact = {**options, "INFERENCE_PRECISION_HINT": "f32"}
            compile_exact = None if exact == options else lambda part: _compile(core, part, exact)
            self._sinusoids = sinusoids(library, model.clone(), compile_exact)
            if self._sinusoids is not None:
                cut_waves(library, model)
            self._sized = _Sized(core, model, options) if large else None
            self._model: Any = None if large else _compile(core, model, options)
            if weights is not None:
                weights.check()
        except IntegrityError:
            raise
        except Exception as error:  # OpenVINO raises several kinds
            raise BackendError(f"{self.provider} cannot load {self.name}: {_first_line(error)}") from error
        self._inputs = {each.get_any_name() for each in model.inputs}
        self._idle: list[Any] = []
        self.others: Sequence[OpenVinoGraph] = ()  # that give their memory back before a large graph runs
        self._lock = threading.Lock()
        self._running = threading.Lock()  # its memory is not given back until the outputs are copied
        self._closed = False

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The graph's outputs in order, for inputs by name. Raises `BackendError` if it fails or gives NaN or infinity."""
        with self._lock:
            if self._closed:
                raise BackendError(f"{self.name} cannot run: this pipeline was closed: load the bundle again")
            request = self._idle.pop() if self._idle else None
        try:
            if request is None and self._sized is None:
                with self._running:
                    request = self._model.create_infer_request()
            outputs = self._infer(request, inputs)
        except Exception as error:
            raise BackendError(f"{self.name} failed while running: {_first_line(error)}") from error
        with self._lock:
            if not self._closed and request is not None:
                self._idle.append(request)
        for spec, output in zip(self.entry.outputs, outputs):
            if not np.isfinite(output).all():
                raise NotFiniteError(f"{self.name} gave NaN or infinity in its output {spec.name}")
        return outputs

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, which are in the host's memory anyway."""
        return list(self.run(inputs))

    def close(self) -> None:
        """Release the compiled model and its memory."""
        with self._lock:
            self._closed, self._idle = True, []
        self._model = self._sized = self._sinusoids = None

    def release(self) -> None:
        """Give back the memory of values. Waits for a run that goes on."""
        with self._running:
            if self._model is not None:
                self._model.release_memory()

    def _infer(self, request: Any, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """By a request of the compiled model; a large one makes its own."""
        given: dict[str, Any] = {name: np.ascontiguousarray(on_host(value)) for name, value in inputs.items()}
        waves = self._sinusoids(given) if self._sinusoids is not None else {}
        given = {name: value for name, value in given.items() if name in self._inputs} | waves
        if self._sized is None:
            with self._running:
                return self._outputs(request, given)
        for other in self.others:
            other.release()
        with self._running:
            model = self._sized.model({name: value.shape for name, value in given.items()})
            outputs = self._outputs(model.create_infer_request(), given)
            model.release_memory()
        return outputs

    def _outputs(self, request: Any, given: Mapping[str, Any]) -> list[NDArray[np.float32]]:
        request.infer(given)
        return [np.array(request.get_tensor(spec.name).data) for spec in self.entry.outputs]


class _Sized:
    """A model compiled for the sizes of its inputs, those of the last run: where all sizes are known, values share memory."""

    def __init__(self, core: Any, model: Any, options: Mapping[str, Any]) -> None:
        self._core, self._model, self._options = core, model, options
        self._last: tuple[object, Any] = (None, None)

    def model(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """For inputs of these shapes, by name."""
        if self._last[0] != shapes:
            self._last = None, None  # two at once would take the memory of two
            model = self._model.clone()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._last = shapes, _compile(self._core, model, self._options)
        return self._last[1]


def _read(core: Any, graph: CheckedGraph, weights: HeldFile | None) -> Any:
    """The model, with a copy of its weights: none of the file's pages are kept."""
    if graph.weights is None or weights is None:
        return core.read_model(io.BytesIO(graph.content))
    with weights.mapped(wait=False) as mapping:
        address = np.frombuffer(mapping, np.uint8).ctypes.data
        return core.read_model(io.BytesIO(graph.located(_IN_MEMORY, base=address)))


def _compile(core: Any, model: Any, options: Mapping[str, Any]) -> Any:
    """Without OpenVINO's fused kernels for large attentions, which are slower here: flow's encoder 5.8 s against 5.2 s."""
    try:
        return core.compile_model(model, "CPU", {**options, "SNIPPETS_MODE": "DISABLE"})
    except RuntimeError:  # the option is one of OpenVINO's own developers
        return core.compile_model(model, "CPU", dict(options))


def _weights_only(node: Any) -> list[Any]:
    """DynamicQuantizeMatMul → a product with weights in 8 bits, which the CPU plugin quantizes the activations for."""
    operators = openvino().opset13
    x, weight, scale, bias = (node.get_input(place) for place in (0, 1, 2, 4))
    floats = operators.multiply(operators.convert(weight, "f32"), scale)
    return [operators.add(operators.matmul(x, floats, False, False), bias).output(0)]


def _float_product(node: Any) -> list[Any]:
    """MatMulIntegerToFloat → a product of what its integers stand for."""
    operators = openvino().opset13
    left, right, left_scale, right_scale, zero = (node.get_input(place) for place in range(5))
    shifted = operators.subtract(operators.convert(left, "f32"), operators.convert(zero, "f32"))
    keys = operators.multiply(operators.convert(right, "f32"), right_scale)
    return [operators.matmul(operators.multiply(shifted, left_scale), keys, False, False).output(0)]


def _on(device: str) -> Callable[[Bundle, Sequence[str], OpenOptions], dict[str, OpenVinoGraph]]:
    def open_graphs(bundle: Bundle, names: Sequence[str], options: OpenOptions) -> dict[str, OpenVinoGraph]:
        precision, entries = bundle.manifest.precision, bundle.manifest.graphs
        graphs = {
            name: OpenVinoGraph(
                bundle.graph(name),
                bundle.weights,
                entries[name],
                device=device,
                precision=precision,
                threads=options.threads,
                large=name == "encode" and encodes_large(bundle.manifest),
            )
            for name in names
        }
        for graph in graphs.values():
            graph.others = [other for other in graphs.values() if other is not graph]
        return graphs

    return open_graphs


OPENVINO = Device("openvino", _on("openvino"), lambda bundle: reason(lambda: check_processor("openvino")), is_cpu=True)
OPENVINO_BF16 = Device(
    "openvino-bf16", _on("openvino-bf16"), lambda bundle: reason(lambda: check_processor("openvino-bf16")), is_cpu=True
)


def check_processor(device: str) -> Any:
    """OpenVINO's core, if it is here and the processor has what `device` needs. Raises `BackendError`."""
    core = openvino().Core()
    if _HINTS[device] == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BackendError("this processor has no bfloat16: use device='openvino', or an int8 bundle")
    return core


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else repr(error)


def openvino() -> Any:
    """The module. Raises `BackendError` that says how to get it."""
    try:
        return import_openvino()
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be imported ({error}): pip install openvino, or use device='cpu'") from error
