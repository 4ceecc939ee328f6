"""Sines and cosines of positions, taken out of a model for OpenVINO and given to it as inputs.

Where they are of a grid, numpy computes them, once for a size: OpenVINO would multiply in another order, and at 48,000, as in
the published multimodal model, a last digit is 0.004. Where positions are inputs, OpenVINO computes them in a float32 model of
their own if the rest is bfloat16: a sine of a rounded position is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def sinusoids(library: Any, model: Any, exact: Callable[[Any], Any] | None) -> _Waves | None:
    """What computes a graph's sines and cosines; None where the graph does it.

    `exact` compiles a model in float32; None where the graph itself is.
    """
    waves = _waves_of(model)
    if not waves:
        return None
    if all(_is_of_a_grid(wave) for wave in waves):
        return _GridWaves(library, model, waves)
    if exact is None:
        return None
    results = [library.opset13.result(wave.output(0)) for wave in waves]
    return _GivenWaves(exact(library.Model(results, model.get_parameters())))


class _GridWaves:
    """Of positions that follow from the inputs' sizes: kept for the sizes of the last call."""

    def __init__(self, library: Any, model: Any, waves: list[Any]) -> None:
        self._library = library
        self._functions = [getattr(np, wave.get_type_name().lower()) for wave in waves]
        results = [library.opset13.result(wave.input_value(0)) for wave in waves]
        self._model = library.Model(results, model.get_parameters())
        self._names = [parameter.get_friendly_name() for parameter in self._model.get_parameters()]
        self._last: tuple[object, dict[str, Any]] = (None, {})

    def __call__(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """By name of the input that takes them."""
        shapes = [given[name].shape for name in self._names]
        known, waves = self._last  # together, for threads
        if known != shapes:
            tensors = [self._library.Tensor(given[name], shared_memory=True) for name in self._names]
            angles = [self._library.Tensor(self._library.Type.f32, self._library.Shape([])) for _ in self._functions]
            if not self._model.evaluate(angles, tensors):
                raise RuntimeError("OpenVINO cannot compute positions")
            waves = {
                _name(number): function(np.array(angle.data))
                for number, (function, angle) in enumerate(zip(self._functions, angles))
            }
            self._last = shapes, waves
        return waves


class _GivenWaves:
    """Of positions that are inputs, by a model of their own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._inputs = [each.get_any_name() for each in compiled.inputs]

    def __call__(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """By name of the input that takes them."""
        found = self._compiled.create_infer_request().infer({name: given[name] for name in self._inputs})
        return {_name(number): wave for number, wave in enumerate(found.values())}


_Waves = _GridWaves | _GivenWaves


def _waves_of(model: Any) -> list[Any]:
    return [operator for operator in model.get_ordered_ops() if operator.get_type_name() in ("Sin", "Cos")]


def _name(number: int) -> str:
    return f"wave{number}"


def _is_of_a_grid(wave: Any) -> bool:
    """Whether it follows from the inputs' sizes, not from their values."""
    seen, waiting = set(), [wave]
    while waiting:
        node = waiting.pop()
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind == "Parameter":
            return False
        if kind != "ShapeOf" and name not in seen:
            seen.add(name)
            waiting += [value.get_source_output().get_node() for value in node.inputs()]
    return True


def cut_waves(library: Any, model: Any) -> None:
    """Make inputs of all sines and cosines."""
    for number, wave in enumerate(_waves_of(model)):
        output = wave.output(0)
        parameter = library.opset13.parameter(output.get_partial_shape(), output.get_element_type())
        parameter.output(0).set_names({_name(number)})
        for target in output.get_target_inputs():
            target.replace_source_output(parameter.output(0))
        model.add_parameters([parameter])
    model.validate_nodes_and_infer_types()
