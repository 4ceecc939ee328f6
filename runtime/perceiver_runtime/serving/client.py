"""Pipelines whose graphs run on a server: pre- and post-processing here in numpy, encode and decode there.

Speaks the Open Inference Protocol over gRPC, with tritonclient, so to Triton, KServe and others. Of a repository that
`perceiver triton` wrote, the version that has this very bundle is used, and encode and decode are of one version. Latents come
back once for each input and go with each chunk of queries. A call that meets a lost connection, a worker that died or a version
that went is tried again, three times at most; graphs have no state, so that is safe.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.arrays import Tensor, on_host
from perceiver_runtime.bundle import Bundle, open_bundle
from perceiver_runtime.errors import BackendError, InputError, UsageError
from perceiver_runtime.loading import open_pipeline
from perceiver_runtime.manifest import GraphEntry, TensorSpec
from perceiver_runtime.pipeline import Placement
from perceiver_runtime.serving.model_config import BUNDLE_KEY

_VERSION = re.compile(re.escape(BUNDLE_KEY) + r"([0-9]{1,18})")
_TYPES = {"float32": "FP32", "int64": "INT64"}
_PAUSES = (0.5, 1.0, 2.0)  # seconds before another try; a worker that died needs one or two to start again
_GONE = ("UNAVAILABLE", "INTERNAL", "NOT_FOUND")  # status codes, and what servers say of workers and versions that went
_GONE_TEXTS = ("stub process", "is not ready", "not found", "unloaded", "failed to process the request")


def connect(
    address: str,
    *,
    bundle: str | Path,
    name: str | None = None,
    timeout: float = 60.0,
    tls: bool = False,
    task: str | None = None,
) -> Any:
    """The pipeline of a bundle whose graphs run on the server at `address`, "host:port" of its gRPC service.

    `bundle` is the folder: its manifest and labels are used here, graphs and weights may be left out of it. `name` begins the
    models' names there, by default the folder's. A request that takes longer than `timeout` seconds is an error. Objects and
    calls are those of `perceiver_runtime.load`. Raises `InputError`, `UsageError`, `IntegrityError`, `BackendError`.

    >>> with perceiver_runtime.connect("server:8001", bundle="flow") as flow:
    ...     field = flow(frame1, frame2)
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise InputError(f"timeout is {timeout!r}: give seconds, a number such as 60.0")
    if not timeout > 0:
        raise UsageError(f"timeout is {timeout}: give seconds, more than 0")
    opened = open_bundle(bundle, partial=True)
    server = _Server(address, name or opened.folder.absolute().name, opened, timeout, tls)
    try:
        return open_pipeline(opened, Placement(opener=server.graphs, max_batch=server.max_batch()), task=task)
    except BaseException:
        server.close()
        raise


@dataclass
class _Server:
    """Where the models are, and the clients to ask them with: one for each thread."""

    address: str
    name: str
    bundle: Bundle
    timeout: float
    tls: bool
    _version: str = ""
    _clients: list[Any] = field(default_factory=list)
    _local: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: int = 0

    def graphs(self, bundle: Bundle, names: Sequence[str]) -> dict[str, RemoteGraph]:
        """The graphs, as pipelines know them."""
        self._open = len(names)
        return {name: RemoteGraph(self, name, bundle.manifest.graphs[name]) for name in names}

    def model(self, graph: str) -> str:
        """A graph's model there."""
        return f"{self.name}_{graph}"

    def max_batch(self) -> int:
        """The largest batch there; also finds the version. Raises `BackendError`."""
        config = self._configuration()
        self._version = self._find(config)
        return max(1, int(config.max_batch_size))

    def find_version(self) -> None:
        """Look again which version has this bundle."""
        self._version = self._find(self._configuration())

    def _configuration(self) -> Any:
        """Of `encode`. Raises `BackendError`, also where the server has no such service."""
        model = self.model("encode")
        try:
            return self.client().get_model_config(model, client_timeout=self.timeout).config
        except Exception as error:
            if "UNIMPLEMENTED" in _status(error):
                raise self.unnamed(model) from error
            raise self.failure(model, error) from error

    def _find(self, config: Any) -> str:
        sums = {
            int(found[1]): entry.string_value
            for key, entry in config.parameters.items()
            if (found := _VERSION.fullmatch(key)) is not None
        }
        if not sums:
            raise self.unnamed(self.model("encode"))
        own = [version for version, value in sums.items() if value == self.bundle.manifest_sha256]
        if not own:
            there = ", ".join(f"version {version} {value[:12]}…" for version, value in sums.items())
            raise BackendError(
                f"{self.address} serves other bundles as {self.name} ({there}) than this one, "
                f"{self.bundle.manifest_sha256[:12]}…: give the bundle that is served, or add this one with perceiver triton"
            )
        ready = [version for version in sorted(own, reverse=True) if self._is_ready(str(version))]
        return str(ready[0] if ready else max(own))

    def _is_ready(self, version: str) -> bool:
        client, graphs = self.client(), [graph for graph in self.bundle.manifest.graphs if graph != "model"]
        try:
            return all(client.is_model_ready(self.model(graph), version, client_timeout=self.timeout) for graph in graphs)
        except Exception:
            return False  # as good as not ready; whatever it is, asking the model will say it

    def client(self) -> Any:
        """The thread's own."""
        if not hasattr(self._local, "client"):
            client = tritonclient().InferenceServerClient(self.address, ssl=self.tls)
            self._local.client = client
            with self._lock:
                self._clients.append(client)
        return self._local.client

    def infer(self, graph: str, inputs: list[Any], outputs: list[Any]) -> Any:
        """A model's answer, tried again where something went that comes back. Raises `BackendError`."""
        model, deadline = self.model(graph), time.monotonic() + self.timeout
        for pause in (*_PAUSES, None):
            try:
                return self._try(model, inputs, outputs, max(0.001, deadline - time.monotonic()))
            except Exception as error:
                if pause is None or not _is_gone(error) or time.monotonic() + pause >= deadline:
                    raise self.failure(model, error) from error
            time.sleep(pause)
            with contextlib.suppress(BackendError):  # the server may not be back; the next try will say it
                self.find_version()
        raise AssertionError("the last try returns or raises")

    def _try(self, model: str, inputs: list[Any], outputs: list[Any], seconds: float) -> Any:
        return self.client().infer(model, inputs, model_version=self._version, outputs=outputs, client_timeout=seconds)

    def unnamed(self, model: str) -> BackendError:
        """The server does not say which bundle it serves."""
        return BackendError(
            f"{self.address} does not say which bundle {model} is of, so answers could be another's: serve a repository that "
            "perceiver triton wrote, by a server with the model configuration service"
        )

    def failure(self, model: str, error: Exception) -> BackendError:
        """What to tell the user."""
        status = _status(error)
        if "DEADLINE" in status:
            return BackendError(f"{self.address} did not answer for {model} within {self.timeout:g} s: give a longer timeout")
        if "UNAVAILABLE" in status and "odel" not in str(error):
            return BackendError(f"{self.address} cannot be reached: is the server up, and is this its gRPC port?")
        return BackendError(f"{self.address} failed on {model}: {_first_line(error)}")

    def release(self) -> None:
        """A graph was closed; the last one closes the connections."""
        with self._lock:
            self._open -= 1
            if self._open:
                return
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()


class RemoteGraph:
    """A graph on a server: `perceiver_runtime.backends.Graph`. Threads may share it."""

    def __init__(self, server: _Server, name: str, entry: GraphEntry) -> None:
        self.name, self.entry, self.provider = name, entry, f"the server {server.address}"
        self._server, self._closed = server, False

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The outputs in order. Raises `BackendError`, for NaN or infinity too."""
        if self._closed:
            raise BackendError(f"{self.name} cannot run: this pipeline was closed: connect again")
        library, given = tritonclient(), []
        for spec in self.entry.inputs:
            array = np.ascontiguousarray(on_host(inputs[spec.name]), spec.dtype)
            tensor = library.InferInput(spec.name, list(array.shape), _TYPES[spec.dtype])
            tensor.set_data_from_numpy(array)
            given.append(tensor)
        wanted = [library.InferRequestedOutput(spec.name) for spec in self.entry.outputs]
        answer = self._server.infer(self.name, given, wanted)
        outputs = []
        for spec in self.entry.outputs:
            output = _float32(answer.get_response(), spec)
            if output is None:
                raise BackendError(
                    f"{self._server.address} gave no float32 output {spec.name} of shape {list(spec.shape)} for {self.name}"
                )
            if not np.isfinite(output).all():
                raise BackendError(f"{self.name} gave NaN or infinity in its output {spec.name}")
            outputs.append(output)
        return outputs

    def run_kept(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, here: the protocol has nothing that stays there."""
        return list(self.run(inputs))

    def close(self) -> None:
        """No more calls; the connections go with the last graph."""
        if not self._closed:
            self._closed = True
            self._server.release()


def _float32(response: Any, spec: TensorSpec) -> NDArray[np.float32] | None:
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


def _status(error: Exception) -> str:
    status = getattr(error, "status", None)
    return str(status() if callable(status) else "")


def _is_gone(error: Exception) -> bool:
    text = str(error).lower()
    return any(code in _status(error) for code in _GONE) or any(part in text for part in _GONE_TEXTS)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)


def tritonclient() -> Any:
    """The module. Raises `BackendError` that says how to get it."""
    try:
        return importlib.import_module("tritonclient.grpc")
    except ImportError as error:
        raise BackendError(f"tritonclient cannot be imported ({error}): pip install 'tritonclient[grpc]'") from error
