"""The Open Inference Protocol over gRPC, as far as it is used here. The messages are tritonclient's, the calls gRPC's own.

tritonclient's asynchronous call never returns where an answer cannot be read, and its synchronous one cannot be cancelled.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import BackendError
from perceiver_runtime.serving.remote.access import Access
from perceiver_runtime.serving.remote.calls import Call

_TYPES = {"float32": "FP32", "int64": "INT64"}


class Connection:
    """A channel to a server, which any threads may use. What fails raises `grpc.RpcError`."""

    def __init__(self, access: Access) -> None:
        """Raises `BackendError` where tritonclient is not installed; nothing is sent yet."""
        library, grpc = tritonclient(), importlib.import_module("grpc")
        self._messages, self._address, self._taken_back = library.service_pb2, access.address, grpc.FutureCancelledError
        self._channel = access.channel(grpc)
        self._server = library.service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def configuration(self, model: str, call: Call) -> Any:
        """A model's config.pbtxt."""
        request = self._messages.ModelConfigRequest(name=model)
        return self._server.ModelConfig(request, timeout=call.left, metadata=call.metadata).config

    def is_ready(self, model: str, version: str, call: Call) -> bool:
        """Whether it answers."""
        request = self._messages.ModelReadyRequest(name=model, version=version)
        return bool(self._server.ModelReady(request, timeout=call.left, metadata=call.metadata).ready)

    def infer(self, model: str, version: str, inputs: Mapping[str, Array], outputs: Sequence[str], call: Call) -> Any:
        """The answer, a ModelInferResponse. The server drops it from its queue when the call's time is over.

        Raises `BackendError` where the call took it back.
        """
        request = self._messages.ModelInferRequest(model_name=model, model_version=version, id=call.request_id)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=_TYPES[str(array.dtype)], shape=array.shape)
            request.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
        for name in outputs:
            request.outputs.add(name=name)
        seconds = call.left
        request.parameters["timeout"].int64_param = round(1e6 * seconds)
        future = self._server.ModelInfer.future(request, timeout=seconds, metadata=call.metadata)
        with call.sending(future):
            try:
                return future.result()
            except self._taken_back as error:
                raise BackendError(
                    f"{self._address} was not waited for: another request of the call failed, or it was interrupted"
                ) from error

    def close(self) -> None:
        """End it."""
        self._channel.close()


def tritonclient() -> Any:
    """The module. Raises `BackendError` that says how to get it."""
    try:
        return importlib.import_module("tritonclient.grpc")
    except ImportError as error:
        raise BackendError(f"tritonclient cannot be imported ({error}): pip install 'tritonclient[grpc]'") from error
