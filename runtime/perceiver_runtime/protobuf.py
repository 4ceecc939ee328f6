"""Walking a protobuf message without a schema compiler: fields one after the other, every length checked against its parent.

Only what ONNX files need: varints, fixed 32- and 64-bit values, and length-delimited fields. Source: the protobuf encoding
guide (wire types 0, 1, 2, 5).
"""

from __future__ import annotations

from collections.abc import Iterator

from perceiver_runtime.errors import IntegrityError

Value = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field: an int for a varint, else the bytes. Raises `IntegrityError` for broken encoding."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise IntegrityError("a graph is damaged: it has a field of an unknown wire type")
        if length > len(message) - position:
            raise IntegrityError("a graph is damaged: a field is longer than what holds it")
        yield number, message[position : position + length]
        position += length


def text(value: Value) -> str:
    """A string field. Raises `IntegrityError` where it is none."""
    if isinstance(value, int):
        raise IntegrityError("a graph is damaged: a number stands where a text should be")
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError("a graph is damaged: a text in it is not UTF-8") from error


def numbers(value: Value) -> list[int]:
    """A repeated number: one of them, or all, packed. Raises `IntegrityError` for broken encoding."""
    if isinstance(value, int):
        return [value]
    found, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        found.append(number)
    return found


def message(value: Value) -> memoryview:
    """A sub-message. Raises `IntegrityError` where it is none."""
    if isinstance(value, int):
        raise IntegrityError("a graph is damaged: a number stands where a message should be")
    return value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise IntegrityError("a graph is damaged: it ends in the middle of a number")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise IntegrityError("a graph is damaged: a number in it is too long")
