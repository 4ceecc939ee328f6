"""Options that are amounts, read the same way everywhere: whole numbers, threads, and memory.

Memory is a number of bytes or a text such as "700MB" in Python, and such a text or a bare number of megabytes on the command
line. MB are millions of bytes, MiB 2 to the 20.
"""

from __future__ import annotations

import math
import operator
import os
import re
import warnings

from perceiver_runtime.common.errors import PerceiverError, UsageError

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_AMOUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([a-z]{0,3})")
MEGABYTE = 10**6


def whole_number(name: str, value: object, error: type[PerceiverError] = UsageError) -> int:
    """A whole number of at least 1. Raises `error`."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 1:
        raise error(f"{name} is {value!r}: give a whole number of at least 1")
    return number


def thread_count(value: object) -> int:
    """Threads of an engine. Raises `UsageError`."""
    number, most = whole_number("threads", value), max(256, os.cpu_count() or 1)
    if number > most:
        raise UsageError(f"threads is {number}: give {most} at most, or leave it out for the cores this process may use")
    return number


def memory_bytes(name: str, value: object) -> int:
    """Bytes, of a number of bytes or a text with a unit. Raises `UsageError`, also for less than a megabyte."""
    if isinstance(value, str):
        found = _parse(value)
    elif isinstance(value, float) and value.is_integer():  # 2e9
        found = int(value)
    else:
        found = None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
    if found is None:
        raise UsageError(f"{name} is {value!r}: give bytes, or a text such as '700MB'")
    if found < MEGABYTE:
        raise UsageError(f"{name} is {value!r}, {found} bytes: give at least a megabyte, in bytes or as a text such as '700MB'")
    return found


def memory_argument(text: str) -> int:
    """Bytes, of an argument on the command line. Raises `ValueError`."""
    found = _parse(f"{text}MB" if re.fullmatch(r"[0-9.]+", text) else text)
    if found is None or found < MEGABYTE:
        raise ValueError(f"{text!r} is no amount of memory: give at least a megabyte, such as 700MB, 2GB, or 700 for megabytes")
    return found


def old_megabytes(
    name: str, value: int | str | None, old_name: str, old: float | None, unit: int = MEGABYTE
) -> int | str | None:
    """The value of an option, or of its deprecated old name, which counts in `unit` bytes. Raises `UsageError`."""
    if old is None:
        return value
    warnings.warn(f"{old_name} is now {name}, in bytes or as a text such as '700MB'", DeprecationWarning, stacklevel=3)
    if value is not None:
        raise UsageError(f"{old_name} is the old name of {name}: give one of them")
    if isinstance(old, bool) or not isinstance(old, (int, float)) or not 0 < old < math.inf:
        raise UsageError(f"{old_name} is {old!r}: give {name} in bytes, or as a text such as '700MB'")
    return int(old * unit)


def _parse(text: str) -> int | None:
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        return None
    return int(float(match[1]) * _UNITS[match[2]])
