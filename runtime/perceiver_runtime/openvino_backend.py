"""Running a bundle's graphs on OpenVINO's CPU plugin: the only module that imports it.

For x86 processors, where it is faster than ONNX Runtime and takes more memory. In float32, or (`openvino-bf16`) with products
in bfloat16 on processors that have them; int8 bundles keep their integer weights, and activations are quantized in groups of
`_GROUP` channels of each row. Positions stay float32 whatever the precision: a sine of a position rounded to bfloat16 is
noise, so all sines and cosines are computed by a model of their own, whose outputs the other one takes.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.arrays import Tensor
from perceiver_runtime.errors import BackendError
from perceiver_runtime.manifest import GraphEntry
from perceiver_runtime.onnx_backend import available_cores

_HINTS = {"openvino": "f32", "openvino-bf16": "bf16"}
_GROUP = 256  # fill-mask at its published size: 0.21 s against 0.28 s with groups of 32, the same error
_WAVES = ("Sin", "Cos")


class OpenVinoGraph:
    """One graph, ready to run. Threads may share it."""

    def __init__(self, path: Path, entry: GraphEntry, *, device: str, precision: str, threads: int | None = None) -> None:
        """Compile the graph, of a bundle of `precision`. `threads` defaults to the cores this process may use.

        Raises `BackendError` where OpenVINO is missing, cannot compile the graph, or the processor has no bfloat16.
        """
        library, core = openvino(), check_processor(device)
        core.add_extension(library.frontend.onnx.ConversionExtension("DynamicQuantizeMatMul", "com.microsoft", _weights_only))
        options = {"INFERENCE_NUM_THREADS": threads or available_cores(), "INFERENCE_PRECISION_HINT": _HINTS[device]}
        if precision == "int8":
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
        self.name, self.entry = path.name, entry
        self.provider = f"OpenVINO {library.__version__.partition('-')[0]} {_HINTS[device]}"
        try:
            model = core.read_model(path)
            waves = _cut_waves(library, model) if _HINTS[device] != "f32" else []
            exact = {**options, "INFERENCE_PRECISION_HINT": "f32"}
            self._waves = _compile(core, _only_waves(library, core.read_model(path)), exact) if waves else None
            self._wave_names = waves
            self._model = _compile(core, model, options)
        except Exception as error:  # OpenVINO raises several kinds
            raise BackendError(f"{self.provider} cannot load {path}: {_first_line(error)}") from error
        self._inputs = {each.get_any_name() for each in self._model.inputs}
        self._idle: list[tuple[Any, Any]] = []
        self._lock = threading.Lock()
        self._closed = False

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The graph's outputs in order, for inputs by name. Raises `BackendError` if it fails or gives NaN or infinity."""
        with self._lock:
            if self._closed:
                raise BackendError(f"{self.name} cannot run: this pipeline was closed: load the bundle again")
            requests = self._idle.pop() if self._idle else None
        try:
            requests = requests or self._new_requests()
            outputs = self._infer(*requests, dict(inputs))
        except Exception as error:
            raise BackendError(f"{self.name} failed while running: {_first_line(error)}") from error
        with self._lock:
            if not self._closed:
                self._idle.append(requests)
        for spec, output in zip(self.entry.outputs, outputs):
            if not np.isfinite(output).all():
                raise BackendError(f"{self.name} gave NaN or infinity in its output {spec.name}")
        return outputs

    def run_kept(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, which are in the host's memory anyway."""
        return list(self.run(inputs))

    def close(self) -> None:
        """Release the compiled model and its memory."""
        with self._lock:
            self._closed, self._idle = True, []
        self._model = self._waves = None

    def _new_requests(self) -> tuple[Any, Any]:
        waves = self._waves
        return self._model.create_infer_request(), None if waves is None else waves.create_infer_request()

    def _infer(self, request: Any, waves: Any, inputs: dict[str, Any]) -> list[NDArray[np.float32]]:
        given = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        if waves is not None:
            known = {each.get_any_name() for each in waves.get_compiled_model().inputs}
            waves.infer({name: value for name, value in given.items() if name in known})
            found = (waves.get_output_tensor(place) for place in range(len(self._wave_names)))
            given = {name: value for name, value in given.items() if name in self._inputs} | dict(zip(self._wave_names, found))
        request.infer(given)
        return [np.array(request.get_tensor(spec.name).data) for spec in self.entry.outputs]


def _compile(core: Any, model: Any, options: Mapping[str, Any]) -> Any:
    """Without OpenVINO's fused kernels for large attentions, which are slower here: flow's encoder 5.8 s against 5.2 s."""
    try:
        return core.compile_model(model, "CPU", {**options, "SNIPPETS_MODE": "DISABLE"})
    except RuntimeError:  # the option is one of OpenVINO's own developers
        return core.compile_model(model, "CPU", dict(options))


def _waves_of(model: Any) -> list[Any]:
    return [operator for operator in model.get_ordered_ops() if operator.get_type_name() in _WAVES]


def _cut_waves(library: Any, model: Any) -> list[str]:
    """Make inputs of all sines and cosines; their names."""
    names = []
    for number, wave in enumerate(_waves_of(model)):
        output = wave.output(0)
        parameter = library.opset13.parameter(output.get_partial_shape(), output.get_element_type())
        parameter.output(0).set_names({f"wave{number}"})
        for target in output.get_target_inputs():
            target.replace_source_output(parameter.output(0))
        model.add_parameters([parameter])
        names.append(f"wave{number}")
    model.validate_nodes_and_infer_types()
    return names


def _only_waves(library: Any, model: Any) -> Any:
    """The model of what `_cut_waves` took out of another like this."""
    results = [library.opset13.result(wave.output(0)) for wave in _waves_of(model)]
    return library.Model(results, model.get_parameters())


def _weights_only(node: Any) -> list[Any]:
    """DynamicQuantizeMatMul → a product with weights in 8 bits, which the CPU plugin quantizes the activations for."""
    operators = openvino().opset13
    x, weight, scale, bias = (node.get_input(place) for place in (0, 1, 2, 4))
    floats = operators.multiply(operators.convert(weight, "f32"), scale)
    return [operators.add(operators.matmul(x, floats, False, False), bias).output(0)]


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
        importlib.import_module("openvino.frontend.onnx")
        importlib.import_module("openvino.opset13")
        return importlib.import_module("openvino")
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be imported ({error}): pip install openvino, or use device='cpu'") from error
