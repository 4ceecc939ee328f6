"""Protobuf's text format, as far as a config.pbtxt needs it: what it says, and changes that leave the rest as it was.

People edit these files by hand: comments, order and fields that are unknown here stay. No protobuf library is needed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from perceiver_runtime.common.errors import InputError

_TOKEN = re.compile(r"""(?:\s|\#[^\n]*)*(?:("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[^\s{}<>\[\]:;,"'#]+)|([{}<>\[\]:;,]))?""")
_CLOSING = {"{": "}", "<": ">"}
_DEEPEST = 30


Inside = tuple[int, int]  # where a value is in the text; of a message, what is between its brackets


@dataclass(frozen=True)
class Message:
    """Fields, and where they are."""

    fields: tuple[Field, ...]
    inside: Inside


@dataclass(frozen=True)
class Field:
    """One field: its name, the values it holds (several where it is a list), and where it is in the text."""

    name: str
    values: tuple[str | Message, ...]
    start: int
    end: int
    inside: Inside


def parse(text: str) -> tuple[Field, ...]:
    """The fields of a message. Raises `InputError` for what is no text format."""
    return _Reader(text).fields("", 0)


def find(fields: Sequence[Field], *path: str) -> list[Field]:
    """All fields of that name, through messages: `find(fields, "input", "dims")`."""
    found = [field for field in fields if field.name == path[0]]
    if len(path) == 1:
        return found
    return [each for message in _messages(found) for each in find(message.fields, *path[1:])]


def texts(fields: Sequence[Field], *path: str) -> list[str]:
    """The values of fields without fields of their own, strings without quotes, elements of lists one by one."""
    return [unquoted(value) for field in find(fields, *path) for value in field.values if isinstance(value, str)]


def set_value(text: str, path: Sequence[str], value: str) -> str:
    """The text with `value` in every field at `path`; one is added, with the messages around it, where there is none."""
    fields, holders = parse(text), [(0, len(text))]
    for name in path[:-1]:
        found = _messages(find(fields, name))
        if not found:
            rest = path[path.index(name) :]
            added = "".join(f"{part} {{ " for part in rest[:-1]) + f"{rest[-1]}: {value}" + " }" * (len(rest) - 1)
            return _added(text, holders, added)
        holders = [message.inside for message in found]
        fields = tuple(each for message in found for each in message.fields)
    for field in sorted(find(fields, path[-1]), key=lambda each: -each.start):
        text = text[: field.inside[0]] + value + text[field.inside[1] :]
    for start, end in sorted(holders, reverse=True):
        if not any(field.name == path[-1] and start <= field.start < end for field in fields):
            text = _added(text, [(start, end)], f"{path[-1]}: {value}")
    return text


def replaced(text: str, old: Sequence[Field], new: str) -> str:
    """The text with `new` in place of the first of these fields, and without the others; at the end where there are none."""
    if not old:
        return _added(text, [(0, len(text))], new) if new else text
    for place, field in reversed(list(enumerate(sorted(old, key=lambda each: each.start)))):
        end = field.end + 1 if not (new and place == 0) and text[field.end : field.end + 1] == "\n" else field.end
        text = text[: field.start] + (new if place == 0 else "") + text[end:]
    return text


def _messages(fields: Sequence[Field]) -> list[Message]:
    return [value for field in fields for value in field.values if isinstance(value, Message)]


def _added(text: str, holders: Sequence[tuple[int, int]], line: str) -> str:
    for start, end in sorted(holders, reverse=True):
        if (start, end) == (0, len(text)):
            text = f"{text.rstrip()}\n{line}\n".lstrip()
        else:
            head = text[:end].rstrip()
            gap = "\n" if "#" in head.rpartition("\n")[2] else " "  # not into a comment
            text = f"{head}{gap}{line} {text[end:]}"
    return text


def unquoted(token: str) -> str:
    """A string's content."""
    if token[:1] not in ("'", '"'):
        return token
    try:
        value = ast.literal_eval(token)
    except (SyntaxError, ValueError):
        return token[1:-1]
    return str(value)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def _peek(self) -> tuple[str, int, int]:
        """The next token and its place; an empty one at the end."""
        found = _TOKEN.match(self._text, self._at)
        assert found is not None  # it matches the empty text
        group = 1 if found[1] is not None else 2
        if found[group] is None:
            if self._text[found.end() :].strip():
                raise self._error(found.end())
            return "", len(self._text), len(self._text)
        return found[group], found.start(group), found.end(group)

    def _take(self) -> tuple[str, int, int]:
        token = self._peek()
        self._at = token[2]
        return token

    def _error(self, place: int) -> InputError:
        line = self._text.count("\n", 0, place) + 1
        return InputError(f"line {line} is not in protobuf's text format: repair the file, or remove the model's folder")

    def fields(self, closing: str, depth: int) -> tuple[Field, ...]:
        found: list[Field] = []
        while True:
            name, start, end = self._take()
            if name == closing:
                return tuple(found)
            if not re.fullmatch(r"\w+", name) or depth > _DEEPEST:
                raise self._error(start)
            if self._peek()[0] == ":":
                self._take()
            elif self._peek()[0] not in ("{", "<", "["):
                raise self._error(end)
            values, inside = self._values(depth)
            found.append(Field(name, values, start, self._at, inside))
            if self._peek()[0] in (",", ";"):
                self._take()

    def _values(self, depth: int) -> tuple[tuple[str | Message, ...], Inside]:
        start = self._peek()[1]
        if self._peek()[0] != "[":
            value, inside = self._value(depth)
            return (value,), inside
        self._take()
        values: list[str | Message] = []
        while self._peek()[0] != "]":
            if values and self._take()[0] != ",":
                raise self._error(self._at)
            values.append(self._value(depth)[0])
        self._take()
        return tuple(values), (start, self._at)

    def _value(self, depth: int) -> tuple[str | Message, Inside]:
        token, start, end = self._take()
        if token in ("{", "<"):
            fields = self.fields(_CLOSING[token], depth + 1)
            return Message(fields, (end, self._at - 1)), (end, self._at - 1)
        if not token or token in "}>[]:;,":
            raise self._error(start)
        while token[0] in "\"'" and self._peek()[0][:1] in ('"', "'"):  # strings one after the other are one
            more, _, end = self._take()
            token = f'"{token[1:-1]}{more[1:-1]}"'
        return token, (start, end)
