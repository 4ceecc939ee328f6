"""Inputs by name: files, folders, patterns, lists of them, tables; for kinds that have no files, such as texts, lines.

An entry is a row, as of a table: the columns of the bundle's kind of input, with what was written there. `read_entry` opens it.
"""

from __future__ import annotations

import csv
import glob
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.picture_series import natural_order
from perceiver_runtime.tasks.kinds.kind import InputKind
from perceiver_runtime.tasks.several import Item, attempt

STANDARD_INPUT = "-"
MAX_LINE = 1 << 24


class Entry(NamedTuple):
    """An input that was named: a row, or why there is none; `place` is where it was named, for errors."""

    row: dict[str, str] | InputError
    place: str

    @property
    def shown(self) -> str | list[str]:
        """What names it: a path or a text, or several."""
        if isinstance(self.row, InputError):
            return self.place
        values = [value for value in self.row.values() if value]
        return values[0] if len(values) == 1 else values


def named(names: Sequence[str], kind: InputKind) -> Iterator[Entry]:
    """What names on a command line stand for: with files, folders and patterns as well as paths; `-` is standard input."""
    for place, name in enumerate(names, 1):
        where = f"input {place} of {len(names)}"
        if name == STANDARD_INPUT and len(names) == 1:
            yield from lines(sys.stdin, "standard input", kind)
        elif kind.suffixes:
            yield from _files(name, kind, where)
        else:
            yield _row(name, kind, where)


def _files(name: str, kind: InputKind, where: str) -> Iterator[Entry]:
    found = attempt(partial(_paths, name, kind))
    if isinstance(found, InputError):
        yield Entry(found, name)
    elif found is None:
        yield _row(name, kind, where)
    elif kind.consecutive and len(found) < 2:
        yield Entry(InputError(f"{name} holds one file, which makes no pair: give two or more"), name)
    elif kind.consecutive:
        yield from (Entry(dict(zip(kind.columns, pair)), where) for pair in itertools.pairwise(found))
    else:
        yield from (Entry({kind.columns[0]: path}, where) for path in found)


def _paths(name: str, kind: InputKind) -> list[str] | None:
    """The files of a folder or a pattern, in natural order; None for another name. Raises `InputError` where there are none."""
    path = Path(name)
    try:
        if path.is_dir():
            inside = [each for each in path.iterdir() if each.suffix.lower() in kind.suffixes and not each.name.startswith(".")]
            if not inside:
                endings = ", ".join(kind.suffixes)
                raise InputError(f"{name} holds no files that end in {endings}: for folders in it, give '{name}/**/*'")
            return [str(each) for each in sorted(inside, key=natural_order)]
        if path.exists() or not glob.has_magic(name):
            return None
    except OSError:  # a name that no file can have: reading it says so
        return None
    matches = [Path(each) for each in glob.iglob(name, recursive=True)]
    chosen = [each for each in matches if each.is_file() and each.suffix.lower() in kind.suffixes]
    if not chosen:
        raise InputError(f"no file matches {name}, of those that end in {', '.join(kind.suffixes)}")
    return [str(each) for each in sorted(chosen, key=lambda each: (natural_order(each.parent), natural_order(each)))]


def list_file(path: str, kind: InputKind) -> Iterator[Entry]:
    """The lines of a file, an input each: a text, or a path; where an input has several, with tabs between."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            yield from lines(file, path, kind)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def count_lines(path: str) -> int:
    """How many lines a file has. Raises `InputError`."""
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def lines(stream: TextIO | None, name: str, kind: InputKind) -> Iterator[Entry]:
    r"""Lines of a stream as they come, UTF-8 whatever the locale, ended by ``\n`` or ``\r\n`` alone.

    Empty lines are no files, but texts that are refused.
    """
    if stream is None or stream.closed:
        raise InputError(f"{name} is closed: name inputs, or give lines")
    raw = getattr(stream, "buffer", None) or io.BytesIO(stream.read().encode("utf-8", "surrogatepass"))
    for number, line in enumerate(iter(partial(raw.readline, MAX_LINE), b""), 1):
        place = f"line {number} of {name}"
        text = attempt(partial(_decoded, line, place, first=number == 1))
        if isinstance(text, InputError):
            yield Entry(text, place)
        elif text or not kind.suffixes:
            yield _row(text, kind, place)


def _decoded(line: bytes, place: str, *, first: bool) -> str:
    try:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8: convert it, as iconv does") from error
    return text.removeprefix("\ufeff") if first else text


def _row(line: str, kind: InputKind, place: str) -> Entry:
    """The row that a line names, its columns between tabs where there are several."""
    columns = (*kind.columns, *kind.optional)
    parts = line.split("\t") if len(columns) > 1 else [line]
    if not len(kind.columns) <= len(parts) <= len(columns):
        expected = ", ".join(columns)
        return Entry(InputError(f"{place} has {len(parts)} columns, expected {expected}, with a tab between"), place)
    return Entry(dict(zip(columns, parts)), place)


def table(path: str | Path, needed: Sequence[str], files: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header. Names in the columns `files` are relative to its folder. Raises `InputError`."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [column for column in needed if column not in (rows.fieldnames or ())]
            if missing:
                found = ", ".join(rows.fieldnames or ()) or "none"
                raise InputError(f"{path} has no column {', '.join(missing)}: its first line should name them; found {found}")
            for row in rows:
                if None in row or None in row.values():
                    raise InputError(f"{path} has a line, {rows.line_num}, with more or fewer columns than its first")
                yield row | {name: str(path.parent / row[name]) for name in files if row.get(name)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8 that can be read: {error}") from error


def read_entry(entry: Entry, kind: InputKind) -> Item:
    """The item that an entry names, opened, or the `InputError` that says why not."""
    shown = entry.shown
    name = shown if isinstance(shown, str) and kind.suffixes else entry.place
    row: Any = entry.row
    if isinstance(row, InputError):
        return Item(name, row)
    assert kind.from_row is not None  # the caller has looked
    row = {column: value for column, value in row.items() if value or column not in kind.optional}
    return Item(name, attempt(partial(kind.from_row, row)))
