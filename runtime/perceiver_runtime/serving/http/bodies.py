"""Reading the body of a request: limits of size and time, and clients that go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from perceiver_runtime.serving.http.errors import HttpError, Stopped
from perceiver_runtime.serving.http.work import Call

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
_LINGER_S = 2.0


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int, call: Call) -> bytes:
    """The body of a request, in the time that its call has left.

    Raises `HttpError`: 413 of more than `limit` bytes, 408 where it comes too late, 415 where it is encoded. Raises `Stopped`
    where the client has gone.
    """
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise HttpError(415, f"a body with Content-Encoding {encoding[:20]} cannot be read: send it as it is")
    too_large = HttpError(413, f"the body has more than the {limit} bytes allowed", {"Connection": "close"})
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        if headers.get("expect", "").lower() != "100-continue":  # else the client asks before it sends
            await _drain(receive)
        raise too_large
    parts, size = [], 0
    while True:
        try:
            message = await asyncio.wait_for(receive(), max(0.001, call.left()))
        except (TimeoutError, asyncio.TimeoutError):
            raise HttpError(408, "the body did not arrive in time", {"Connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise Stopped
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            await _drain(receive)
            raise too_large
        if not message.get("more_body", False):
            return b"".join(parts)


async def _drain(receive: Receive) -> None:
    """Read what a client still sends, for `_LINGER_S` at most: many read the answer only after all was sent."""

    async def rest() -> None:
        while (message := await receive())["type"] != "http.disconnect" and message.get("more_body", False):
            pass

    with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
        await asyncio.wait_for(rest(), _LINGER_S)


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
