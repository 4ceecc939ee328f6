"""Graphs that run on a server which speaks the Open Inference Protocol over gRPC: Triton, KServe and others.

Of a repository that `perceiver triton` wrote, the version that has this very bundle is used, and encode and decode are of one
version. A request that meets a lost connection, a full queue, a worker that died or a version that is being loaded is sent
again, with growing pauses, for a stated time; graphs have no state, so that is safe. One timeout is for all requests of a call.
Needs tritonclient.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import BackendError
from perceiver_runtime.serving.model_config import BUNDLE_KEY
from perceiver_runtime.serving.remote.access import Access
from perceiver_runtime.serving.remote.calls import Backoff, Call, open_call, opened
from perceiver_runtime.serving.remote.failures import explained, may_come_back, status_of, text_of
from perceiver_runtime.serving.remote.graph import RemoteGraph
from perceiver_runtime.serving.remote.protocol import Connection
from perceiver_runtime.tasks.pipeline import FUSED

_VERSION = re.compile(re.escape(BUNDLE_KEY) + r"([0-9]{1,18})")


class GoneError(BackendError):
    """The server no longer names this bundle."""


@dataclass
class Server:
    """Where the models are, and the connection to ask them through, which threads share."""

    access: Access
    name: str
    bundle: Bundle
    timeout: float
    retry_for: float
    _version: str = ""
    _connection: Connection | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: int = 0

    @property
    def address(self) -> str:
        """host:port."""
        return self.access.address

    def graphs(self, bundle: Bundle, names: Sequence[str]) -> dict[str, RemoteGraph]:
        """The graphs, as pipelines know them."""
        self._open = len(names)
        return {name: RemoteGraph(self, name, bundle.manifest.graphs[name]) for name in names}

    def model(self, graph: str) -> str:
        """A graph's model there."""
        return f"{self.name}_{graph}"

    def max_batch(self) -> int:
        """The largest batch there; also finds the version. Raises `BackendError`."""
        with self.call() as call:
            config = self._configuration(call)
            self._version = self._find(config, call, ready=True)
        return max(1, int(config.max_batch_size))

    @contextlib.contextmanager
    def call(self) -> Iterator[Call]:
        """Requests inside share one timeout, headers and id; within an open call they are that one's."""
        call = open_call(self)
        if call is not None:
            yield call
            return
        with opened(Call(self, self.timeout, self.access.metadata(), self.access.identity())) as call:
            yield call

    def _configuration(self, call: Call) -> Any:
        """Of `encode`. Raises `BackendError`, also where the server has no such service."""
        model = self.model("encode")
        try:
            return self.connection().configuration(model, call)
        except Exception as error:
            if status_of(error) == "UNIMPLEMENTED" and "status:" not in text_of(error):
                raise self.unnamed(model) from error
            raise self.failure(model, error) from error

    def _find(self, config: Any, call: Call, *, ready: bool) -> str:
        """The version of this bundle, where one is `ready`; else, unless it has to be, the newest."""
        sums = {
            int(found[1]): entry.string_value
            for key, entry in config.parameters.items()
            if (found := _VERSION.fullmatch(key)) is not None
        }
        if not sums:
            raise self.unnamed(self.model("encode"))
        own = [version for version, value in sums.items() if value == self.bundle.manifest_sha256]
        there = {version: f"version {version} {value[:12]}…" for version, value in sums.items()}
        if not own:
            raise GoneError(
                f"{self.address} serves other bundles as {self.name} ({', '.join(there.values())}) than this one, "
                f"{self.bundle.manifest_sha256[:12]}…: give the bundle that is served, or add this one with perceiver triton"
            )
        states = {version: self._is_ready(str(version), call) for version in sorted(own, reverse=True)}
        usable = [version for version, state in states.items() if state is not False]
        if ready and not usable:
            others = ", ".join(text for version, text in there.items() if version not in own)
            way_out = f", or give a bundle that is served: {others}" if others else ""
            raise BackendError(
                f"{self.address} names this bundle as version {max(own)} of {self.name}, but that version is not ready: it is "
                f"being loaded, or was unloaded or removed. Wait{way_out}"
            )
        return str(usable[0] if usable else max(own))

    def _is_ready(self, version: str, call: Call) -> bool | None:
        """None where the server does not say: asking the model will."""
        graphs, server = [graph for graph in self.bundle.manifest.graphs if graph != FUSED], self.connection()
        try:
            return all(server.is_ready(self.model(graph), version, call) for graph in graphs)
        except Exception:
            return None

    def connection(self) -> Connection:
        """The one to the server."""
        with self._lock:
            if self._connection is None:
                self._connection = Connection(self.access)
            return self._connection

    def infer(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Any:
        """A model's answer, asked for again where something went that comes back. Raises `BackendError`."""
        model, backoff = self.model(graph), Backoff(self.retry_for)
        with self.call() as call:
            while True:
                try:
                    return self.connection().infer(model, self._version, inputs, outputs, call)
                except Exception as error:
                    pause = backoff.pause() if may_come_back(error) else None
                    if pause is None or call.is_over or pause >= call.left:
                        raise self.failure(model, error) from error
                call.wait(pause)
                self._look_again(call)

    def _look_again(self, call: Call) -> None:
        """Which version has this bundle now. Raises `GoneError` where none ever will."""
        try:
            self._version = self._find(self._configuration(call), call, ready=False)
        except GoneError:
            raise
        except BackendError:
            pass  # the server may not be back; the next try will say it

    def unnamed(self, model: str) -> BackendError:
        """The server does not say which bundle it serves."""
        return BackendError(
            f"{self.address} does not say which bundle {model} is of, so answers could be another's: serve a repository that "
            "perceiver triton wrote, by a server with the model configuration service"
        )

    def failure(self, model: str, error: Exception) -> BackendError:
        """What to tell the user."""
        return error if isinstance(error, BackendError) else BackendError(explained(self.address, model, error, self.timeout))

    def release(self) -> None:
        """A graph was closed; the last one closes the connection."""
        with self._lock:
            self._open -= 1
            if self._open:
                return
        self.close()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
