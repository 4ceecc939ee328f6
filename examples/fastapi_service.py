"""A web service that labels pictures, with FastAPI: uploads of bounded size, so many at a time, an answer in time or none.

    pip install fastapi uvicorn './runtime[cpu,images]'
    BUNDLE=digits python examples/fastapi_service.py                    # on 127.0.0.1:8000
    curl --data-binary @three.png 'http://127.0.0.1:8000/labels?top_k=3'

The body is the picture's file. Its length is counted as it comes, whatever the header says; decoding bounds its pixels too.
A graph that runs cannot be stopped: a call whose time is up is answered with 504, and keeps its place until it is done, so that
no more than `workers` calls are ever computed at once. Behind a proxy, give that one limits as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request

import perceiver_runtime as pr


@dataclass(frozen=True)
class Limits:
    """Bytes of an upload, seconds of reading it and of an answer, calls that run and that wait."""

    upload_bytes: int = 8 << 20
    upload_seconds: float = 10.0
    answer_seconds: float = 5.0
    workers: int = 2
    waiting: int = 16


def create_app(bundle: str, limits: Limits | None = None, **trust: Any) -> FastAPI:
    """The service of an image classification bundle; `trust` is for `pr.load`: revision, manifest_sha256, public_key."""
    allowed = limits or Limits()
    places = allowed.workers + allowed.waiting
    taken = 0

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # loaded here, in each worker process: a pipeline is not shared with forked ones
        with pr.load(bundle, task="image-classification", **trust) as app.state.classify:
            app.state.pool = ThreadPoolExecutor(allowed.workers)
            try:
                yield
            finally:
                app.state.pool.shutdown()

    app = FastAPI(title="Labels of pictures", lifespan=lifespan)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"task": app.state.classify.manifest.task, "busy": taken, "places": places}

    @app.post("/labels")
    async def labels(request: Request, top_k: int = Query(default=3, ge=1, le=100)) -> dict[str, Any]:
        nonlocal taken
        if taken >= places:
            raise HTTPException(503, "too many calls at once: try again", headers={"Retry-After": "1"})
        taken += 1
        free = True  # this call gives its place back itself

        def give_back(_: Any) -> None:
            nonlocal taken
            taken -= 1

        try:
            content = await _body(request, allowed)
            call = app.state.pool.submit(app.state.classify, content, top_k=top_k)
            free = False  # from here on when the work ends, however this call does
            loop = asyncio.get_running_loop()
            call.add_done_callback(lambda done: loop.call_soon_threadsafe(give_back, done))
            answer = await asyncio.wait_for(asyncio.wrap_future(call), allowed.answer_seconds)
        except asyncio.TimeoutError:
            raise HTTPException(504, f"no answer within {allowed.answer_seconds:g} s") from None
        except pr.InputError as error:
            raise HTTPException(422, str(error)) from error
        finally:
            if free:
                taken -= 1
        found: dict[str, Any] = answer.to_dict()
        return found

    return app


async def _body(request: Request, limits: Limits) -> bytes:
    """What is uploaded, no longer and no slower than allowed."""

    async def read() -> bytes:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > limits.upload_bytes:
                raise HTTPException(413, f"more than {limits.upload_bytes} bytes")
        return bytes(content)

    try:
        return await asyncio.wait_for(read(), limits.upload_seconds)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the upload took more than {limits.upload_seconds:g} s") from None


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(create_app(os.environ["BUNDLE"]), host="127.0.0.1", port=8000, limit_concurrency=100)
