"""Reading a protobuf message by a schema, strictly, and writing it again in one canonical way.

Readers of protobuf differ: one cuts a tag to 32 bits, another takes the first of two values where a third takes the last or
skips a field of another wire type. `read` refuses whatever two readers could see differently: fields that the schema does not
have, other wire types, a singular field twice, tags and numbers that are too large or longer than need be, text that is not
UTF-8. `write` gives the same message anew, in ascending order of fields, so that what was read is all there is. Source: the
protobuf encoding guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from perceiver_runtime.common.errors import IntegrityError

MAX_FIELDS = 500_000  # of a message and those within; the largest exports have some 20,000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {"int64": 0, "int32": 0, "uint64": 0, "double": 1, "text": 2, "bytes": 2, "message": 2, "float": 5}

Kind = Literal["int64", "int32", "uint64", "double", "text", "bytes", "message", "float"]
Message = dict[int, list[Any]]  # by field number: int, str, memoryview (bytes, and floats as stored) or Message


@dataclass(frozen=True)
class Field:
    """A field of a message. `packed` is how a repeated number is written; it is read either way, as any reader does."""

    kind: Kind
    repeated: bool = False
    packed: bool = False
    schema: Schema | None = None


@dataclass(frozen=True)
class Schema:
    """A message's name, for errors, and its fields by number."""

    name: str
    fields: Mapping[int, Field]


def read(schema: Schema, data: bytes | memoryview) -> Message:
    """The message. Raises `IntegrityError` for what the schema does not have, or what another reader might see differently."""
    return _Reader().message(schema, memoryview(data))


def write(schema: Schema, message: Message) -> bytes:
    """The canonical encoding of what `read` gave."""
    return b"".join(_pieces(schema, message))


@dataclass
class _Reader:
    left: int = field(default=MAX_FIELDS)

    def message(self, schema: Schema, data: memoryview) -> Message:
        found: Message = {}
        position, end = 0, len(data)
        while position < end:
            tag, position = _varint(data, position)
            number, wire_type = tag >> 3, tag & 7
            known = schema.fields.get(number)
            if known is None or tag >> 32:
                _refuse(f"has the field {number} in {schema.name}, which no bundle uses")
            expected = _WIRE_TYPES[known.kind]
            packed = wire_type == _BYTES != expected and known.repeated
            if wire_type != expected and not packed:
                _refuse(f"has the field {number} in {schema.name} with the wire type {wire_type} instead of {expected}")
            if not known.repeated and number in found:
                _refuse(f"has the field {number} in {schema.name} twice")
            values = found.setdefault(number, [])
            stop = end
            if wire_type == _BYTES:
                length, position = _varint(data, position)
                if length > end - position:
                    _refuse("is damaged: a field is longer than what holds it")
                stop = position + length
            if packed:
                while position < stop:
                    value, position = self._value(known, data[:stop], position, stop)
                    values.append(value)
            else:
                value, position = self._value(known, data, position, stop)
                values.append(value)
        return found

    def _value(self, known: Field, data: memoryview, position: int, stop: int) -> tuple[Any, int]:
        """A value and where the next one begins; `stop` is the end of one that has a length."""
        self.left -= 1
        if self.left < 0:
            _refuse(f"has more than {MAX_FIELDS} fields")
        kind = known.kind
        if kind in ("float", "double"):
            stop = position + (4 if kind == "float" else 8)
            if stop > len(data):
                _refuse("is damaged: it ends in the middle of a number")
            return data[position:stop], stop
        if kind == "bytes":
            return data[position:stop], stop
        if kind == "text":
            return _text(data[position:stop]), stop
        if known.schema is not None:
            return self.message(known.schema, data[position:stop]), stop
        value, position = _varint(data, position)
        if kind != "uint64" and value >> 63:
            value -= 1 << 64
        if kind == "int32" and not -(1 << 31) <= value < 1 << 31:
            _refuse(f"has the number {value} where 32 bits belong")
        return value, position


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= len(data):
            _refuse("is damaged: it ends in the middle of a number")
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if result >> 64 or (shift and not byte):
            _refuse("is damaged: a number in it is longer than it should be")
        if byte < 0x80:
            return result, position
        shift += 7


def _text(data: memoryview) -> str:
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        _refuse("is damaged: a text in it is not UTF-8")
    if "\0" in text:
        _refuse("has a zero byte in a text")
    return text


def _pieces(schema: Schema, message: Message) -> list[bytes | memoryview]:
    pieces: list[bytes | memoryview] = []
    for number in sorted(message):
        known, values = schema.fields[number], message[number]
        wire_type = _WIRE_TYPES[known.kind]
        if known.packed:
            if values:
                content = b"".join(_encoded(known, value) for value in values)
                pieces += [_number(number << 3 | _BYTES), _number(len(content)), content]
            continue
        for value in values:
            pieces.append(_number(number << 3 | wire_type))
            encoded = _encoded(known, value)
            if wire_type == _BYTES:
                pieces.append(_number(len(encoded)))
            pieces.append(encoded)
    return pieces


def _encoded(known: Field, value: Any) -> bytes | memoryview:
    if known.schema is not None:
        return write(known.schema, value)
    if isinstance(value, int):
        return _number(value)
    return value.encode() if isinstance(value, str) else memoryview(value)


def _number(value: int) -> bytes:
    """A varint; what is negative takes all 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _refuse(problem: str) -> NoReturn:
    raise IntegrityError(f"a graph {problem}: do not use this bundle")
