"""The limits of `perceiver serve`, on its application alone: how many run and wait, for how long, how much they send."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from perceiver_runtime.commands.main import main
from perceiver_runtime.common.errors import BackendError, IntegrityError
from perceiver_runtime.serving.http.app import App
from perceiver_runtime.serving.http.models import Served, ServedModel
from perceiver_runtime.serving.http.plain_requests import form_parts
from perceiver_runtime.serving.http.work import StoppedGraph, Work
from perceiver_runtime.serving.wire import WireSpec

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}).encode()


class Client:
    """Requests to an application, each a coroutine."""

    def __init__(self, function: Callable[[], Any], **limits: Any) -> None:
        def infer(inputs: Any, wanted: Any, parameters: Any) -> dict[str, Any]:
            function()
            return {"y": np.array([b"done"], object)}

        self.work = Work(**{"concurrency": 1, "queue": 1, "timeout": 30.0, **limits})
        specs = [WireSpec("x", "bytes", ("B",))], [WireSpec("y", "bytes", ("B",))]
        model = ServedModel("m", "t", "0" * 64, *specs, infer)
        self.app = App([Served("m", "t", "0" * 64, "nothing", [model], None)], self.work, max_body=1000)

    async def ask(self, body: bytes = BODY, *, wait: float = 0.0, gone: float | None = None, length: int | None = None) -> Any:
        """Status and body; the request's body comes after `wait` seconds, and the client goes after `gone`."""
        sent: list[Any] = []
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            message = next(messages, None)
            await asyncio.sleep(wait if message else 3600 if gone is None else gone)
            return message or {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [] if length is None else [(b"content-length", str(length).encode())]
        scope = {"type": "http", "method": "POST", "path": "/v2/models/m/infer", "headers": headers, "query_string": b""}
        await self.app(scope, receive, send)
        if not sent:
            return None
        found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
        return SimpleNamespace(status=sent[0]["status"], headers=found, body=json.loads(sent[1]["body"]))


def test_more_than_may_wait_are_refused_at_once() -> None:
    release = threading.Event()
    client = Client(release.wait)

    async def scenario() -> list[Any]:
        first, second = asyncio.ensure_future(client.ask()), asyncio.ensure_future(client.ask())
        while client.work.running == 0 or client.work.waiting == 0:
            await asyncio.sleep(0.01)
        refused = await client.ask()
        release.set()
        return [refused, await first, await second, await client.ask()]

    refused, *answered = asyncio.run(scenario())
    assert (refused.status, refused.body["error"]) == (503, "too many requests are waiting: try again later")
    assert int(refused.headers["retry-after"]) >= 1
    assert [each.status for each in answered] == [200, 200, 200]


def test_late_answers_keep_their_place_until_their_thread_is_done() -> None:
    release = threading.Event()
    client = Client(release.wait, queue=0, timeout=0.2)

    async def scenario() -> list[Any]:
        late = await client.ask()
        refused = await client.ask()
        release.set()
        while client.work.running:
            await asyncio.sleep(0.01)
        return [late, refused, await client.ask()]

    late, refused, answered = asyncio.run(scenario())
    assert (late.status, refused.status, answered.status) == (504, 503, 200)
    assert "no answer within 0.2 s" in late.body["error"]


def test_what_waited_too_long_is_never_run() -> None:
    release, runs = threading.Event(), []

    def function() -> None:
        runs.append(1)
        release.wait()

    client = Client(function, timeout=0.3)

    async def scenario() -> list[Any]:
        found = await asyncio.gather(client.ask(), client.ask())
        release.set()
        return list(found)

    assert [each.status for each in asyncio.run(scenario())] == [504, 504]
    assert len(runs) == 1


def test_a_client_that_went_stops_its_graphs() -> None:
    """The next run of a graph does not happen; nor any after the time is over."""
    runs: list[float] = []
    graph: Any = SimpleNamespace(name="g", entry=None, provider="", arithmetic="float32", run=lambda inputs: runs.append(0))
    stopped = StoppedGraph(graph)

    def function() -> None:
        for _ in range(200):
            stopped.run({})
            time.sleep(0.02)

    async def scenario(client: Client, **options: Any) -> Any:
        answer = await client.ask(**options)
        while client.work.running:
            await asyncio.sleep(0.01)
        return answer

    assert asyncio.run(scenario(Client(function), gone=0.2)) is None
    assert 0 < len(runs) < 100
    runs.clear()
    assert asyncio.run(scenario(Client(function, timeout=0.2))).status == 504
    assert 0 < len(runs) < 100
    stopped.run({})  # outside of a request it is the graph itself


def test_bodies() -> None:
    client = Client(lambda: None, timeout=0.2)
    assert asyncio.run(client.ask(BODY + b" " * 1000)).status == 413
    assert asyncio.run(client.ask(length=1001)).status == 413
    assert asyncio.run(client.ask(wait=3)).status == 408
    assert asyncio.run(client.ask()).body["outputs"][0]["data"] == ["done"]


def test_a_body_that_is_too_large_is_read_before_it_is_refused() -> None:
    """Many clients read the answer only after they have sent everything: a connection closed before that shows them none."""
    client = Client(lambda: None)
    read: list[int] = []

    async def asked(headers: list[tuple[bytes, bytes]], parts: int) -> tuple[int, int]:
        left = iter(range(parts))
        sent: list[Any] = []
        read.clear()

        async def receive() -> Any:
            part = next(left, None)
            if part is None:
                await asyncio.sleep(3600)  # a client that stops in the middle
            assert part is not None
            read.append(part)
            return {"type": "http.request", "body": b"x" * 600, "more_body": part != 9}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v2/models/m/infer", "headers": headers, "query_string": b""}
        await client.app(scope, receive, send)
        return sent[0]["status"], len(read)

    length, asks = (b"content-length", b"6000"), (b"expect", b"100-continue")
    assert asyncio.run(asked([length], 10)) == (413, 10)
    assert asyncio.run(asked([], 10)) == (413, 10)
    assert asyncio.run(asked([length, asks], 10)) == (413, 0)  # it sends nothing before it is told to
    assert asyncio.run(asked([length], 5)) == (413, 5)


@pytest.mark.parametrize(
    "error", [BackendError("/srv/x failed"), IntegrityError("/srv/x is damaged"), ZeroDivisionError("/srv/x")]
)
def test_what_the_server_itself_lacks_is_not_told(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def function() -> None:
        raise error

    answer = asyncio.run(Client(function).ask())
    assert (answer.status, answer.body["error"]) == (500, "the server failed on this request; its log says why")
    assert "/srv/x" in capsys.readouterr().err


def test_forms() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n2\r\n'
    body = head + b'--b\r\ncontent-disposition: form-data; name="c"\r\n\r\n\r\n--b--'
    assert form_parts(body, " boundary=b") == [("a", b"1\r\n2"), ("c", b"")]
    assert form_parts(body, ' boundary="b"') == form_parts(body, " boundary=b")
    for damaged, parameters in (
        (body[:-2], "boundary=b"),
        (body, ""),
        (b"", "boundary=b"),
        (body.replace(b"name", b"nome"), "boundary=b"),
    ):
        with pytest.raises(Exception, match=r"the form|a part"):
            form_parts(damaged, parameters)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a=x", "a=y"], 2, "two bundles are named a: give NAME=FOLDER"),
        (["a b=x"], 2, "'a b' is no name for a model"),
        (["nowhere"], 1, "there is no bundle"),
        (["x", "--host", "192.0.2.1"], 1, "192.0.2.1 port 0 cannot be bound"),
    ],
)
def test_usage(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *arguments, "--port", "0"]) == code
    assert message in capsys.readouterr().err


def test_without_uvicorn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "x"]) == 5
    assert "pip install 'perceiver-runtime[serve]'" in capsys.readouterr().err
