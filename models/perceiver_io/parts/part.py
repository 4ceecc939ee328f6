"""Parts that a composition can be saved with: classes that remember what they were made with, by their names.

`@part` above a class of modules puts it into `PARTS` and makes each object keep its constructor's arguments. `describe` writes
an object as plain JSON values, `build` makes it again. Only classes in `PARTS` are ever made, of numbers, texts, configurations
of this package and other parts: a file cannot name anything else.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from perceiver_io import config as configurations
from perceiver_io.config import LARGEST
from perceiver_io.config_json import ConfigError, from_json, to_json

T = TypeVar("T", bound=type[nn.Module])
PARTS: dict[str, type[nn.Module]] = {}
_CONFIGS: dict[str, type[Any]] = {
    name: each for name, each in vars(configurations).items() if dataclasses.is_dataclass(each) and isinstance(each, type)
}
_ARGUMENTS = "part_arguments"


def part(cls: T) -> T:
    """Let objects of a class be parts of a saved composition. Of two classes of one name, the later counts.

    >>> @part
    ... class Head(nn.Module):
    ...     def __init__(self, channels: int) -> None: ...
    """
    made: Any = cls.__init__

    @functools.wraps(made)
    def remembering(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        if type(self) is cls:
            given = inspect.signature(made).bind(self, *args, **options).arguments
            setattr(self, _ARGUMENTS, dict(list(given.items())[1:]))

    cls.__init__ = remembering  # type: ignore[method-assign]
    PARTS[cls.__name__] = cls
    return cls


def is_part(module: nn.Module) -> bool:
    """Whether `describe` can write it, as far as its own class goes."""
    return PARTS.get(type(module).__name__) is type(module) and hasattr(module, _ARGUMENTS)


def describe(module: nn.Module) -> dict[str, Any]:
    """A part as plain JSON values. Raises `ConfigError` for a module whose class is in no registry."""
    name = type(module).__name__
    if not is_part(module):
        raise ConfigError(
            f"{name} is no registered part, so it cannot be saved with its configuration: put @perceiver_io.part above it"
        )
    arguments: dict[str, Any] = getattr(module, _ARGUMENTS)
    return {"part": name, "arguments": {key: _plain(value, f"{name}.{key}") for key, value in arguments.items()}}


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, nn.Module):
        return describe(value)
    if dataclasses.is_dataclass(value) and type(value).__name__ in _CONFIGS:
        return {"config": type(value).__name__, "values": to_json(value)}
    if isinstance(value, Mapping):
        return {"items": {str(key): _plain(each, f"{where}.{key}") for key, each in value.items()}}
    if isinstance(value, (tuple, list)):
        return [_plain(each, where) for each in value]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigError(
        f"{where} is a {type(value).__name__}: parts are saved with numbers, texts, configurations and other parts"
    )


def build(data: Any, where: str = "config") -> nn.Module:
    """The part that `describe` wrote, with random weights. Raises `ConfigError`."""
    if not isinstance(data, dict) or set(data) != {"part", "arguments"} or not isinstance(data["arguments"], dict):
        raise ConfigError(f"{where} should be a part and its arguments")
    cls = PARTS.get(data["part"]) if isinstance(data["part"], str) else None
    if cls is None:
        raise ConfigError(
            f"{where} is a {str(data['part'])[:80]!r}, a part of no registry here: import the module that has it under "
            f"@perceiver_io.part; known: {', '.join(sorted(PARTS))}"
        )
    arguments = {str(key): _made(value, f"{where}.{key}") for key, value in data["arguments"].items()}
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except Exception as error:  # what a constructor makes of arguments that it cannot use
        raise ConfigError(f"{where}: {data['part']} cannot be made of its arguments: {str(error)[:200]}") from error


def _made(value: Any, where: str) -> Any:
    if isinstance(value, list):
        return tuple(_made(each, where) for each in value)
    if type(value) is int and not -LARGEST <= value <= LARGEST:
        raise ConfigError(f"{where} is beyond {LARGEST}")
    if not isinstance(value, dict):
        return value
    if set(value) == {"items"} and isinstance(value["items"], dict):
        return {key: _made(each, f"{where}.{key}") for key, each in value["items"].items()}
    if set(value) == {"config", "values"}:
        kind = _CONFIGS.get(value["config"]) if isinstance(value["config"], str) else None
        if kind is None:
            raise ConfigError(f"{where} is no configuration known here")
        return from_json(kind, value["values"], where=where)
    return build(value, where)
