"""Configurations to plain JSON values and back.

`to_json` writes plain JSON values, `from_json` is strict: an unknown key, a missing key or a value of another type is a
`ConfigError` that names the field. The law, tested: ``from_json(type(c), to_json(c)) == c``.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names the field and what was expected."""


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def from_json(kind: type[T], data: Any, *, where: str = "config") -> T:
    """Build the dataclass `kind` from what `to_json` wrote. Raises `ConfigError`, naming the field."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} should be an object, found {type(data).__name__}")
    hints = get_type_hints(kind)
    unknown, missing = sorted(set(data) - set(hints)), sorted(set(hints) - set(data))
    if unknown:
        raise ConfigError(f"{where} has unknown keys {unknown}; known: {sorted(hints)}")
    if missing:
        raise ConfigError(f"{where} lacks {missing}")
    return kind(**{name: _convert(hint, data[name], f"{where}.{name}") for name, hint in hints.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where=where)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where} is {value!r}, expected one of {list(arguments)}")
    if origin in (Union, types.UnionType):  # `X | None` is the only kind of union here
        return None if value is None else _convert(arguments[0], value, where)
    if origin is tuple and arguments[-1] is Ellipsis:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {value!r}, expected a list")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is tuple:
        if not isinstance(value, list) or len(value) != len(arguments):
            raise ConfigError(f"{where} is {value!r}, expected a list of {len(arguments)}")
        return tuple(_convert(each, item, where) for each, item in zip(arguments, value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r}, expected {hint.__name__}")
    return value
