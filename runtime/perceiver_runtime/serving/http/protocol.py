"""Inference requests and answers of the Open Inference Protocol, as JSON and with its binary tensor data extension."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.serving.http.models import ServedModel
from perceiver_runtime.serving.wire import DATATYPES, WireSpec, named

LENGTH_HEADER = "inference-header-content-length"
_NUMPY = {"FP32": "<f4", "INT64": "<i8"}
_KINDS = {"FP32": "iuf", "INT64": "i"}  # of numbers in JSON
_IGNORED = ("priority", "timeout", "sequence_id", "sequence_start", "sequence_end")  # of requests that need no order


@dataclass(frozen=True)
class InferRequest:
    """A request: inputs and parameters by name, and which outputs are wanted, with whether each as binary data."""

    id: str | None
    inputs: dict[str, Array]
    parameters: dict[str, Any]
    outputs: dict[str, bool]


def read_request(body: bytes, header_length: int | None, model: ServedModel) -> InferRequest:
    """The request in a body whose first `header_length` bytes are JSON (None: all). Raises `InputError`.

    With 0 the body is a single element of the model's only input, which is of bytes; the answer is then binary, as Triton's is.
    """
    if header_length == 0:
        return _raw_request(body, model)
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise InputError(f"{LENGTH_HEADER} says {length} bytes, the body has {len(body)}")
    data = read_object(body[:length])
    parameters = _object(data, "parameters")
    binary = parameters.pop("binary_data_output", False) is True
    for ignored in _IGNORED:
        parameters.pop(ignored, None)
    rest = memoryview(body)[length:]
    inputs: dict[str, Array] = {}
    specs = {spec.name: spec for spec in model.inputs}
    for entry in _entries(data, "inputs"):
        name = entry.get("name")
        if not isinstance(name, str) or name not in specs or name in inputs:
            raise InputError(f"{model.name} takes {named(model.inputs)}, each once; found {name!r}")
        inputs[name], rest = _tensor(entry, specs[name], rest)
    if len(rest):
        raise InputError(f"{len(rest)} bytes of the body belong to no input: check binary_data_size")
    missing = [spec.name for spec in model.inputs if spec.name not in inputs and not spec.optional]
    if missing:
        raise InputError(f"{model.name} takes {named(model.inputs)}; {missing[0]} is missing")
    return InferRequest(_id(data), inputs, parameters, _outputs(data, model, binary))


def _raw_request(body: bytes, model: ServedModel) -> InferRequest:
    first, *others = model.inputs
    if first.dtype != "bytes" or any(not spec.optional for spec in others):
        raise InputError(f"a body without a header is for models with one input of bytes; this one takes {named(model.inputs)}")
    element = np.array([body], object).reshape(1, 1)
    return InferRequest(None, {first.name: element}, {}, {spec.name: True for spec in model.outputs})


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `InputError`."""

    def refused(text: str) -> Any:
        raise ValueError(f"{text} is no number of JSON")

    try:
        found = json.loads(body.decode("utf-8"), parse_constant=refused)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise InputError("the body should be a JSON object")
    return found


def _object(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = data.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"{key} should be an object")
    return dict(found)


def _entries(data: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = data.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{key} should be a list of objects")
    return found


def _id(data: Mapping[str, Any]) -> str | None:
    found = data.get("id")
    if found is not None and not isinstance(found, str):
        raise InputError("id should be a text")
    return found


def _outputs(data: Mapping[str, Any], model: ServedModel, binary: bool) -> dict[str, bool]:
    if "outputs" not in data:
        return {spec.name: binary for spec in model.outputs}
    known, wanted = [spec.name for spec in model.outputs], {}
    for entry in _entries(data, "outputs"):
        if entry.get("name") not in known:
            raise InputError(f"{model.name} gives {', '.join(known)}; found {entry.get('name')!r}")
        parameters = _object(entry, "parameters")
        wanted[entry["name"]] = parameters.pop("binary_data", binary) is True
        if parameters.pop("classification", 0) or parameters:
            raise InputError("of an output's parameters this server knows binary_data alone")
    return wanted or {spec.name: binary for spec in model.outputs}


def _tensor(entry: Mapping[str, Any], spec: WireSpec, rest: memoryview) -> tuple[Array, memoryview]:
    """An input, and what is left of the binary data."""
    datatype, shape, parameters = DATATYPES[spec.dtype], entry.get("shape"), _object(entry, "parameters")
    if entry.get("datatype") != datatype:
        raise InputError(f"{spec.name} should be {datatype}, found {entry.get('datatype')!r}")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError(f"the shape of {spec.name} should be a list of whole numbers")
    size, encoding = parameters.pop("binary_data_size", None), parameters.pop("content_type", None)
    if parameters:
        unknown = next(iter(parameters))
        raise InputError(f"of an input's parameters this server knows binary_data_size and content_type, not {unknown}")
    count = math.prod(shape)
    if size is None:
        return _from_json(entry.get("data"), spec.name, datatype, count, encoding).reshape(shape), rest
    if "data" in entry or type(size) is not int or not 0 <= size <= len(rest):
        raise InputError(f"{spec.name} should have data, or a binary_data_size of at most the {len(rest)} bytes that are left")
    raw, left = rest[:size], rest[size:]
    found = _elements(raw, spec.name) if datatype == "BYTES" else _numbers(raw, spec.name, datatype)
    if found.size != count:
        raise InputError(f"{spec.name} has {found.size} elements, its shape {shape} asks for {count}")
    return found.reshape(shape), left


def _numbers(raw: memoryview, name: str, datatype: str) -> Array:
    kind = np.dtype(_NUMPY[datatype])
    if len(raw) % kind.itemsize:
        raise InputError(f"{name} has {len(raw)} bytes, which are no whole number of {datatype}")
    return np.frombuffer(raw, kind).astype(kind.newbyteorder("="))


def _elements(raw: memoryview, name: str) -> Array:
    """Each after its length, four bytes."""
    found, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        if place + 4 + length > len(raw):
            raise InputError(f"{name} is cut short: each element follows its length, 4 bytes, little-endian")
        found.append(bytes(raw[place + 4 : place + 4 + length]))
        place += 4 + length
    return _objects(found)


def _objects(elements: Sequence[bytes]) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def _from_json(data: Any, name: str, datatype: str, count: int, encoding: Any) -> Array:
    if not isinstance(data, list):
        raise InputError(f"{name} should have its values in a list, data")
    if datatype == "BYTES":
        return _sized(_objects([_element(each, name, encoding) for each in _flat(data)]), name, count)
    if encoding is not None:
        raise InputError(f"content_type is for BYTES; {name} is {datatype}")
    try:
        array = np.asarray(data)
    except ValueError:
        array = np.empty(1, object)  # lists of different lengths
    if array.size and array.dtype.kind not in _KINDS[datatype]:
        raise InputError(f"the data of {name} should be numbers, {datatype}, in lists of one length")
    with np.errstate(over="ignore"):  # too large a number becomes infinity, which is refused
        return _sized(array.astype(_NUMPY[datatype]), name, count)


def _sized(array: Array, name: str, count: int) -> Array:
    if array.size != count:
        raise InputError(f"{name} has {array.size} elements, its shape asks for {count}")
    return array


def _flat(data: list[Any]) -> list[Any]:
    for _ in range(8):
        if not any(isinstance(each, list) for each in data):
            break
        data = [item for each in data for item in (each if isinstance(each, list) else [each])]
    return data


def _element(value: Any, name: str, encoding: Any) -> bytes:
    """A text of JSON as bytes: as UTF-8, or where `content_type` says so as base64."""
    if not isinstance(value, str) or encoding not in (None, "base64"):
        raise InputError(f'the data of {name} should be texts; files as base64, with the parameter "content_type": "base64"')
    try:
        return value.encode("utf-8") if encoding is None else base64.b64decode(value, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InputError(f"an element of {name} is no {encoding or 'text of UTF-8'}: {error}") from error


def write_answer(model: ServedModel, request: InferRequest, found: Mapping[str, Array]) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer."""
    outputs, buffers = [], []
    for spec in model.outputs:
        if spec.name not in request.outputs:
            continue
        array = found[spec.name]
        entry: dict[str, Any] = {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": list(array.shape)}
        if request.outputs[spec.name]:
            buffers.append(_buffer(array))
            entry["parameters"] = {"binary_data_size": len(buffers[-1])}
        else:
            flat = array.reshape(-1)
            entry["data"] = [each.decode() for each in flat] if array.dtype == object else flat.tolist()
        outputs.append(entry)
    answer = {"model_name": model.name, "model_version": "1", "outputs": outputs}
    header = json.dumps(answer if request.id is None else {"id": request.id, **answer}, ensure_ascii=False).encode()
    if not buffers:
        return {"content-type": "application/json"}, header
    headers = {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(header))}
    return headers, b"".join([header, *buffers])


def _buffer(array: Array) -> bytes:
    if array.dtype != object:
        return np.ascontiguousarray(array, "<f4").tobytes()
    return b"".join(len(each).to_bytes(4, "little") + each for each in array.reshape(-1))
