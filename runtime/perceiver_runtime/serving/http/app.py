"""The ASGI application: addresses, limits, errors. What a model does is models.py's."""

from __future__ import annotations

import json
import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from perceiver_runtime import __version__
from perceiver_runtime.common.errors import PerceiverError
from perceiver_runtime.common.terminal import one_line, write_lines
from perceiver_runtime.serving.http import formats
from perceiver_runtime.serving.http.bodies import Message, Receive, disconnected, read_body
from perceiver_runtime.serving.http.errors import FAILED, HttpError, Stopped, told
from perceiver_runtime.serving.http.metrics import CONTENT_TYPE, Metrics
from perceiver_runtime.serving.http.models import Served, ServedModel
from perceiver_runtime.serving.http.plain_requests import read_plain
from perceiver_runtime.serving.http.protocol import LENGTH_HEADER, read_request, write_answer
from perceiver_runtime.serving.http.work import Work
from perceiver_runtime.serving.model_config import BUNDLE_KEY

Send = Callable[[Message], Awaitable[None]]
VERSION = "1"  # of every model: another bundle is another start
_EXTENSIONS = ["binary_tensor_data", "model_configuration", "parameters"]
_MODEL = r"/v2/models/(?P<name>[A-Za-z0-9_.-]{1,128})(?:/versions/(?P<version>[0-9]{1,18}))?"
_JSON = {"content-type": formats.JSON}


class Response(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def in_json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON object."""
    return Response(status, {**_JSON, **(headers or {})}, json.dumps(data, ensure_ascii=False).encode())


class App:
    """Bundles by name, over HTTP."""

    def __init__(self, bundles: Sequence[Served], work: Work, *, max_body: int) -> None:
        self._bundles = {each.name: each for each in bundles}
        self._models = {model.name: model for each in bundles for model in each.models}
        self._work, self._max_body = work, max_body
        gauges = {
            "perceiver_requests_running": ("Requests that are being answered.", lambda: float(work.running)),
            "perceiver_requests_waiting": ("Requests that wait for a thread.", lambda: float(work.waiting)),
            "perceiver_requests_limit": ("Requests that have a place, at most.", lambda: float(work.concurrency + work.queue)),
        }
        self.metrics = Metrics(gauges)
        self._gets = (
            (re.compile(r"/v2/?"), self._server),
            (re.compile(r"/v2/health/(live|ready)"), lambda found: in_json({"live": True, "ready": True})),
            (re.compile(r"/v2/models"), self._list),
            (re.compile(_MODEL), self._metadata),
            (re.compile(_MODEL + "/ready"), self._ready),
            (re.compile(_MODEL + "/config"), self._config),
            (
                re.compile(r"/metrics"),
                lambda found: Response(200, {"content-type": CONTENT_TYPE}, self.metrics.text().encode()),
            ),
        )
        self._posts = ((re.compile(_MODEL + "/infer"), self._infer), (re.compile(_MODEL + "/answer"), self._answer))

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        began, model = time.monotonic(), ""
        found = next((match for pattern, _ in self._posts if (match := pattern.fullmatch(scope["path"]))), None)
        if found is not None and (found["name"] in self._models or found["name"] in self._bundles):
            model = found["name"]
        try:
            response = await self._respond(scope, receive)
        except HttpError as error:
            response = in_json({"error": error.message}, error.status, error.headers)
        except Stopped:
            if model:
                self.metrics.count(model, 499, time.monotonic() - began)
            return  # nobody is there
        if found is not None:
            self.metrics.count(model, response.status, time.monotonic() - began)
        headers = {**response.headers, "content-length": str(len(response.body))}
        encoded = [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def _respond(self, scope: Mapping[str, Any], receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        for pattern, get in self._gets:
            match = pattern.fullmatch(path)
            if match is not None:
                if method not in ("GET", "HEAD"):
                    raise HttpError(405, f"{method[:20]} is not for this address: use GET", {"Allow": "GET, HEAD"})
                return get(match)
        for pattern, post in self._posts:
            match = pattern.fullmatch(path)
            if match is not None:
                if method != "POST":
                    raise HttpError(405, f"{method[:20]} is not for this address: use POST", {"Allow": "POST"})
                return await self._work_on(post(match, scope), scope, receive)
        raise HttpError(404, "there is nothing at this address: GET /v2/models lists what is served")

    async def _work_on(self, task: Callable[[bytes], Response], scope: Mapping[str, Any], receive: Receive) -> Response:
        with self._work.place() as call:
            body = await read_body(receive, _headers(scope), self._max_body, call)
            return await self._work.run(call, lambda: _safely(task, body, scope["path"]), disconnected(receive))

    def _server(self, found: re.Match[str]) -> Response:
        return in_json({"name": "perceiver", "version": __version__, "extensions": _EXTENSIONS})

    def _list(self, found: re.Match[str]) -> Response:
        return in_json(
            {"models": [{"name": each.name, "task": each.task, "bundle": each.bundle} for each in self._models.values()]}
        )

    def _model(self, found: re.Match[str]) -> ServedModel:
        name = found["name"]
        if found["version"] not in (None, VERSION):
            raise HttpError(404, f"{name} has version {VERSION} alone")
        if name not in self._models:
            own = [model.name for model in self._bundles[name].models] if name in self._bundles else []
            more = f"its models are {', '.join(own)}" if own else "GET /v2/models lists what is served"
            raise HttpError(404, f"there is no model {name}: {more}")
        return self._models[name]

    def _metadata(self, found: re.Match[str]) -> Response:
        model = self._model(found)
        tensors = {
            key: [spec.described() for spec in specs] for key, specs in (("inputs", model.inputs), ("outputs", model.outputs))
        }
        return in_json({"name": model.name, "versions": [VERSION], "platform": "perceiver_runtime", **tensors})

    def _ready(self, found: re.Match[str]) -> Response:
        return in_json({"name": self._model(found).name, "ready": True})

    def _config(self, found: re.Match[str]) -> Response:
        """What clients look for in Triton's: the bundle of the version."""
        model = self._model(found)
        parameters = {f"{BUNDLE_KEY}{VERSION}": {"string_value": model.bundle}}
        return in_json({"name": model.name, "platform": "perceiver_runtime", "max_batch_size": 0, "parameters": parameters})

    def _infer(self, found: re.Match[str], scope: Mapping[str, Any]) -> Callable[[bytes], Response]:
        model, length = self._model(found), _headers(scope).get(LENGTH_HEADER)
        if length is not None and not (length.isdigit() and len(length) < 12):
            raise HttpError(400, f"{LENGTH_HEADER} should be a whole number")

        def answer(body: bytes) -> Response:
            request = read_request(body, None if length is None else int(length), model)
            outputs = model.infer(request.inputs, list(request.outputs), request.parameters)
            return Response(200, *write_answer(model, request, outputs))

        return answer

    def _answer(self, found: re.Match[str], scope: Mapping[str, Any]) -> Callable[[bytes], Response]:
        served = self._bundles.get(found["name"])
        if served is None or served.answering is None or found["version"] not in (None, VERSION):
            raise HttpError(404, f"no bundle {found['name']} answers texts or files: {', '.join(self._bundles)} are served")
        answering, headers = served.answering, _headers(scope)
        wanted = formats.chosen(headers.get("accept", ""), answering)

        def answer(body: bytes) -> Response:
            request = read_plain(body, headers.get("content-type", ""), scope["query_string"], answering)
            (result,) = answering.answers([request.row], request.parameters)
            return Response(200, {"content-type": wanted.name}, wanted.encode(answering, result))

        return answer


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}


def _safely(task: Callable[[bytes], Response], body: bytes, path: str) -> Response:
    """The response, or an `HttpError` that says nothing of the server: what it is goes to the log. In a thread."""
    try:
        return task(body)
    except PerceiverError as error:
        client = told(error)
        if client.status >= 500:
            write_lines(one_line(f"perceiver serve: {path}: {error}"), sys.stderr)
        raise client from error
    except MemoryError as error:
        write_lines(one_line(f"perceiver serve: {path}: there is not enough memory"), sys.stderr)
        raise HttpError(503, "there is not enough memory for this request: make it smaller", {"Retry-After": "10"}) from error
    except (HttpError, Stopped):
        raise
    except Exception as error:
        write_lines(f"perceiver serve: {path}:\n{traceback.format_exc()}", sys.stderr)
        raise HttpError(500, FAILED) from error
