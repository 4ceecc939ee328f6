"""A graph on a server, as pipelines know graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.device import Arithmetic
from perceiver_runtime.bundle.manifest import GraphEntry, TensorSpec
from perceiver_runtime.common.arrays import Tensor, on_host
from perceiver_runtime.common.errors import BackendError, NotFiniteError

if TYPE_CHECKING:
    from perceiver_runtime.serving.client import Server


class RemoteGraph:
    """`perceiver_runtime.backends.device.Graph`. Threads may share it."""

    arithmetic: Arithmetic = "float32"

    def __init__(self, server: Server, name: str, entry: GraphEntry) -> None:
        self.name, self.entry, self.provider = name, entry, f"the server {server.address}"
        self._server, self._closed = server, False

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The outputs in order. Raises `BackendError`, for NaN or infinity too."""
        if self._closed:
            raise BackendError(f"{self.name} cannot run: this pipeline was closed: connect again")
        given = {spec.name: np.asarray(on_host(inputs[spec.name]), spec.dtype) for spec in self.entry.inputs}
        answer = self._server.infer(self.name, given, [spec.name for spec in self.entry.outputs])
        outputs = []
        for spec in self.entry.outputs:
            output = float32_output(answer, spec)
            if output is None:
                raise BackendError(
                    f"{self._server.address} gave no float32 output {spec.name} of shape {list(spec.shape)} for {self.name}"
                )
            if not np.isfinite(output).all():
                raise NotFiniteError(f"{self.name} gave NaN or infinity in its output {spec.name}")
            outputs.append(output)
        return outputs

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, here: the protocol has nothing that stays there."""
        return list(self.run(inputs))

    def close(self) -> None:
        """No more calls; the connection goes with the last graph."""
        if not self._closed:
            self._closed = True
            self._server.release()


def float32_output(response: Any, spec: TensorSpec) -> NDArray[np.float32] | None:
    """An output by its name; None where it is not there, or not of the type, shape and length that it should have."""
    for place, output in enumerate(response.outputs):
        if output.name != spec.name or output.datatype != "FP32" or len(output.shape) != len(spec.shape):
            continue
        if place >= len(response.raw_output_contents):
            return None
        shape, raw = [int(size) for size in output.shape], response.raw_output_contents[place]
        fits = all(own >= 0 and (own == wanted or isinstance(wanted, str)) for own, wanted in zip(shape, spec.shape))
        return np.frombuffer(raw, "<f4").reshape(shape) if fits and 4 * math.prod(shape) == len(raw) else None
    return None
