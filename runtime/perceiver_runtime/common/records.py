"""JSON to frozen dataclasses, strictly: the one border that free-form data of a bundle crosses.

`parse_json` takes text that is JSON and nothing more, of bounded depth and numbers; `record` makes a dataclass of an object,
whose fields say which keys there are and of what type. Whatever is wrong is an `IntegrityError` that names the place. A new
key is a field; with a default it may be absent.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from perceiver_runtime.common.errors import IntegrityError

MAX_DEPTH = 16
MAX_INTEGER = (1 << 63) - 1
PROCESSOR = "manifest.processor"
KINDS = ("input", "problem", "answer")  # keys of `processor` that say what it is for, beside its constants

T = TypeVar("T")


def parse_json(text: bytes, what: str) -> Any:
    """The value that UTF-8 `text` says; `what` names it in errors.

    Raises `IntegrityError` for what is no JSON, nested deeper than `MAX_DEPTH`, or holds a key twice, NaN, infinity, an
    integer of more than 64 bits or a surrogate.
    """
    if _depth(text) > MAX_DEPTH:
        raise IntegrityError(f"{what} is nested more than {MAX_DEPTH} deep: do not use this bundle")

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise IntegrityError(f"{what} has a key twice among {[key for key, _ in pairs][:8]}: do not use this bundle")
        return dict(pairs)

    def refused(number: str) -> Any:
        raise IntegrityError(f"{what} holds {number[:40]}, which is not JSON of 64-bit numbers: do not use this bundle")

    def integer(number: str) -> Any:
        return int(number) if len(number) < 20 and abs(int(number)) <= MAX_INTEGER else refused(number)

    def finite(number: str) -> Any:
        return float(number) if math.isfinite(float(number)) else refused(number)

    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=no_duplicates,
            parse_constant=refused,
            parse_float=finite,
            parse_int=integer,
        )
        _check_text(value)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what} is not valid JSON ({error}): copy or export the bundle again") from error
    return value


def record(kind: type[T], data: Any, where: str, *, ignored: Collection[str] | None = ()) -> T:
    """The object `data` as the dataclass `kind`; `where` names it in errors.

    Keys in `ignored` may be there besides; with None any may, for what only informs. Numbers that should be float may be
    written as integers. Raises `IntegrityError`.
    """
    if not isinstance(data, dict):
        raise IntegrityError(f"{where} should be an object: do not use this bundle")
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    needed = {
        field.name for field in fields if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    unknown = set() if ignored is None else set(data) - set(hints) - set(ignored)
    if unknown or not needed <= set(data):
        missing = sorted(needed - set(data))
        raise IntegrityError(f"{where} has unknown keys {sorted(unknown)} and lacks {missing}: not written by this version")
    found = {
        field.name: _convert(hints[field.name], data[field.name], f"{where}.{field.name}", None if ignored is None else ())
        for field in fields
        if field.name in data
    }
    return kind(**found)


def check_fields(where: str, **valid: bool) -> None:
    """Raise `IntegrityError` that names the fields of `where` whose values are not `valid`."""
    wrong = [name for name, fine in valid.items() if not fine]
    if wrong:
        raise IntegrityError(f"{where} makes no sense in {', '.join(wrong)}: export the bundle again")


def _convert(hint: Any, value: Any, where: str, ignored: Collection[str] | None) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        return None if value is None else _convert(inner, value, where, ignored)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return record(hint, value, where, ignored=ignored)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            pairs = zip(kinds, value)
            return tuple(_convert(kind, item, f"{where}[{index}]", ignored) for index, (kind, item) in enumerate(pairs))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}", ignored) for key, item in value.items()}
    if origin is None and (type(value) is hint or (hint is float and type(value) is int)):
        return hint(value)
    raise IntegrityError(f"{where} is {str(value)[:80]!r}, which has the wrong type: do not use this bundle")


def _depth(text: bytes) -> int:
    depth = deepest = 0
    for byte in re.findall(rb"[\[{\]}]", text):  # brackets inside strings only make this stricter
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check_text(value: Any) -> None:
    """Raise `UnicodeEncodeError` where a string, or a key, is none that UTF-8 can hold."""
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _check_text(item)
