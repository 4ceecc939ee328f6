"""Requests without a protocol: a text, a file as the body, a form, or a JSON object; parameters in the address or the form."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.serving.answering import Answering, Value
from perceiver_runtime.serving.http.errors import HttpError
from perceiver_runtime.serving.http.protocol import read_object
from perceiver_runtime.serving.wire import named

MAX_PARTS = 64  # of a form
_FILES = ("image/", "audio/", "video/", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is curl's


class PlainRequest(NamedTuple):
    """One row of columns, and parameters."""

    row: dict[str, Value]
    parameters: dict[str, Any]


def read_plain(body: bytes, content_type: str, query: bytes, answering: Answering) -> PlainRequest:
    """What a body and an address say. Raises `InputError`, `HttpError` 415."""
    media_type, _, rest = content_type.partition(";")
    media_type = media_type.strip().lower()
    parameters: dict[str, Any] = dict(parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=100))
    if media_type == "multipart/form-data":
        row, more = _form(body, rest, answering)
    elif media_type == "application/json":
        row, more = _json(body, answering)
    elif not media_type or media_type == "text/plain" or media_type.startswith(_FILES):
        row, more = {_only(answering): body}, {}
    else:
        raise HttpError(
            415, f"a body of {media_type[:80]} cannot be read: send a file, text/plain, JSON or multipart/form-data"
        )
    return PlainRequest(row, {**parameters, **more})


def _only(answering: Answering) -> str:
    needed = [spec for spec in answering.inputs if not spec.optional]
    if len(needed) != 1:
        raise InputError(f"this bundle takes {named(answering.inputs)}: send a form, multipart/form-data, with a part for each")
    return needed[0].name


def _json(body: bytes, answering: Answering) -> tuple[dict[str, Value], dict[str, Any]]:
    """Columns by name, texts as they are and files in base64; the rest are parameters."""
    data = read_object(body)
    columns = {spec.name for spec in answering.inputs}
    row: dict[str, Value] = {}
    for name in columns & data.keys():
        value = data.pop(name)
        if not isinstance(value, str):
            raise InputError(f"{name} should be a text" + ("" if answering.is_text(name) else ", a file in base64"))
        row[name] = value if answering.is_text(name) else _decoded(name, value)
    return row, _scalars(data)


def _decoded(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} is no base64: {error}") from error


def _scalars(data: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in data.items():
        if not isinstance(value, (str, int, float, bool)):
            raise InputError(f"the parameter {name} should be a text, a number, true or false")
    return dict(data)


def _form(body: bytes, parameters: str, answering: Answering) -> tuple[dict[str, Value], dict[str, Any]]:
    columns, row, more = {spec.name for spec in answering.inputs}, dict[str, Value](), dict[str, Any]()
    for name, content in form_parts(body, parameters):
        if name in row or name in more:
            raise InputError(f"the form has two parts {name!r}")
        if name in columns:
            row[name] = content
        else:
            more[name] = content.decode("utf-8", "replace")
    return row, more


def form_parts(body: bytes, parameters: str) -> list[tuple[str, bytes]]:
    """Name and content of each part of a form (RFC 7578); `parameters` follow multipart/form-data. Raises `InputError`."""
    boundary = re.search(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', parameters)
    if boundary is None:
        raise InputError("the form does not say its boundary")
    line = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(line, MAX_PARTS + 2)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise InputError(f"the form is cut short, or has more than {MAX_PARTS} parts")
    found = []
    for piece in pieces[1:-1]:
        header, separator, content = piece.partition(b"\r\n\r\n")
        name = re.search(rb'content-disposition:[^\r\n]*;\s*name="([^"\r\n]{1,100})"', header, re.IGNORECASE)
        if not separator or name is None:
            raise InputError("a part of the form has no name")
        found.append((name[1].decode("utf-8", "replace"), content))
    return found
