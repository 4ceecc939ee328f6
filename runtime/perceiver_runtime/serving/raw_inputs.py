"""What a server checks of inputs that a client made itself, of any graph, before the graph runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from perceiver_runtime.backends.input_check import check_inputs
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.tasks.kinds.kind import InputsCheck
from perceiver_runtime.tasks.registry import find_task


def raw_check(manifest: Manifest, graph: str) -> InputsCheck:
    """What raises `InputError` for inputs of a graph: names, shapes, NaN, ids and positions that there are not, bytes for ids.

    Of a task of a package that is not here, numbers are not looked into further than NaN.
    """
    entry, task = manifest.graphs[graph], find_task(manifest.task)
    numbers: InputsCheck | None = None
    if task is not None:
        numbers = (task.kind(manifest).check if graph == "encode" else task.check_queries)(manifest.processor)

    def check(inputs: Mapping[str, Array]) -> None:
        check_inputs(graph, entry, manifest.ranges, inputs)
        for name, array in inputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(f"{name} holds NaN or infinity")
        if numbers is not None:
            numbers(inputs)

    return check
