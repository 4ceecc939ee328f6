"""A stand-in for Triton: a server of the Open Inference Protocol over gRPC that runs a bundle's graphs; slow, away or full."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc as rpc
import numpy as np
import tritonclient.grpc as triton

from perceiver_runtime.backends.selection import open_graphs
from perceiver_runtime.bundle.reader import open_bundle

METHODS = "/inference.GRPCInferenceService/"
TYPES = {"FP32": np.float32, "INT64": np.int64}
Refuse = Callable[[int], tuple[rpc.StatusCode, str] | None]


@dataclass
class Served(rpc.GenericRpcHandler):  # type: ignore[misc]
    """What it was asked, and how it answers. `refuse` is given a request's number, and may give an error."""

    bundle: Path
    names: str | None = None  # the sha256 that it says version 1 has; None: the bundle's own
    ready: bool = True
    delay: float = 0.0
    refuse: Refuse = lambda number: None
    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    computed: int = 0
    at_once: int = 0
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._opened = open_bundle(self.bundle)
        self._graphs = open_graphs(self._opened, ["encode", "decode"], device="cpu", threads=1)

    def service(self, details: Any) -> Any:
        method = {"ModelConfig": self._config, "ModelReady": self._ready, "ModelInfer": self._infer}.get(
            details.method.removeprefix(METHODS)
        )
        if method is None:
            return None
        self.headers.append({key: value for key, value in details.invocation_metadata if isinstance(value, str)})
        return rpc.unary_unary_rpc_method_handler(method)

    def _config(self, request: bytes, context: Any) -> bytes:
        response = triton.service_pb2.ModelConfigResponse()
        response.config.max_batch_size = 1
        response.config.parameters["perceiver_bundle_1"].string_value = self.names or self._opened.manifest_sha256
        return bytes(response.SerializeToString())

    def _ready(self, request: bytes, context: Any) -> bytes:
        return bytes(triton.service_pb2.ModelReadyResponse(ready=self.ready).SerializeToString())

    def _infer(self, request: bytes, context: Any) -> bytes:
        given = triton.service_pb2.ModelInferRequest.FromString(request)
        with self._lock:
            self.asked.append({"id": given.id, "timeout": given.parameters["timeout"].int64_param, "authority": context.peer()})
            error = self.refuse(len(self.asked))
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        try:
            if error is not None:
                context.abort(*error)
            time.sleep(self.delay)
            if not context.is_active():
                return b""  # nobody waits for it, so it is not computed
            with self._lock:
                self.computed += 1
            return self._answer(given)
        finally:
            with self._lock:
                self._running -= 1

    def _answer(self, given: Any) -> bytes:
        graph = self._graphs[given.model_name.rpartition("_")[2]]
        inputs = {
            spec.name: np.frombuffer(raw, TYPES[spec.datatype]).reshape(list(spec.shape))
            for spec, raw in zip(given.inputs, given.raw_input_contents)
        }
        response = triton.service_pb2.ModelInferResponse(model_name=given.model_name)
        for spec, array in zip(graph.entry.outputs, graph.run(inputs)):
            response.outputs.add(name=spec.name, datatype="FP32", shape=array.shape)
            response.raw_output_contents.append(np.ascontiguousarray(array).tobytes())
        return bytes(response.SerializeToString())


@contextlib.contextmanager
def serving(served: Served, *, credentials: Any = None, port: int = 0, workers: int = 16) -> Iterator[Served]:
    """Until the end of the block; on a port that is free, unless one is given."""
    options = [("grpc.so_reuseport", 0)]
    server = rpc.server(ThreadPoolExecutor(workers), handlers=[served], options=options)
    place = f"127.0.0.1:{port}"
    found = server.add_insecure_port(place) if credentials is None else server.add_secure_port(place, credentials)
    served.address = f"127.0.0.1:{found}"
    server.start()
    try:
        yield served
    finally:
        server.stop(0).wait()
