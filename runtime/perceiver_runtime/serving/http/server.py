"""Running the application: a socket, uvicorn, and a stop that lets answers end. uvicorn is imported late."""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.common.errors import BackendError, InputError, UsageError
from perceiver_runtime.serving.http.app import App
from perceiver_runtime.serving.http.models import Served, served
from perceiver_runtime.serving.http.work import Work
from perceiver_runtime.tasks.known_answer import FILE, Sample, check_known_answer, tolerances
from perceiver_runtime.tasks.loading import check_task, open_pipeline
from perceiver_runtime.tasks.pipeline import RuntimeOptions

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MORE_SECONDS = 5.0  # that a stop waits beyond the limit of a request


@dataclass(frozen=True)
class ServeOptions:
    """Where it listens (port 0: any that is free), and its limits: requests at once, that wait, seconds, bytes."""

    host: str = "127.0.0.1"
    port: int = 8000
    concurrency: int = 2
    queue: int = 32
    timeout: float = 60.0
    max_body: int = 32_000_000


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def named_bundles(arguments: Sequence[str]) -> dict[str, str]:
    """NAME=FOLDER, or FOLDER, which is its own name. Raises `UsageError`."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, separator, folder = argument.partition("=")
        if not separator or "/" in name:
            name, folder = Path(argument).absolute().name, argument
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name for a model: give NAME=FOLDER, of letters, digits, _ and -")
        if name in found:
            raise UsageError(f"two bundles are named {name}: give NAME=FOLDER")
        found[name] = folder
    return found


@contextlib.contextmanager
def loaded(folders: Mapping[str, str], options: RuntimeOptions) -> Iterator[list[Served]]:
    """The bundles, open until the end; the known answer of each is right here. Raises as `load`, and `VerificationError`."""
    with contextlib.ExitStack() as pipelines:
        found = []
        for name, folder in folders.items():
            bundle = open_bundle(folder)
            check_task(bundle, None)
            pipeline = pipelines.enter_context(open_pipeline(bundle, options))
            check_known_answer(pipeline, Sample.read(bundle.read(FILE)), tolerances(bundle.manifest))
            found.append(served(bundle, pipeline, name))
        names = [model.name for each in found for model in each.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"two models would be named {twice[0]}: give other names, NAME=FOLDER")
        yield found


def listen(options: ServeOptions) -> socket.socket:
    """A socket that is bound and does not listen yet. Raises `InputError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as failed:
            bound = failed.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            failed.pop_all()
    except OSError as error:
        raise InputError(f"{options.host} port {options.port} cannot be bound: {error.strerror or error}") from error
    return bound


def library() -> Any:
    """uvicorn. Raises `BackendError` that says how to get it."""
    try:
        return importlib.import_module("uvicorn")
    except ImportError as error:
        raise BackendError(f"uvicorn cannot be imported ({error}): pip install 'perceiver-runtime[serve]'") from error


def run(bundles: Sequence[Served], options: ServeOptions, bound: socket.socket, started: Callable[[], None]) -> int:
    """Serve until SIGTERM or SIGINT: then nothing new is taken, and what runs ends. How many requests were answered."""
    uvicorn = library()
    work = Work(concurrency=options.concurrency, queue=options.queue, timeout=options.timeout)
    app = App(bundles, work, max_body=options.max_body)

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            started()

    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(options.timeout + _MORE_SECONDS),
    )
    # uvicorn raises the signal that stopped it once more when it is done: that is to end nothing
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        Server(config).run(sockets=[bound])
    finally:
        work.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return app.metrics.answered
