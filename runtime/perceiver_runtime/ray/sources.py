"""What a job has to do: the rows of a folder, of a Parquet or CSV file, here or at an address, each with an `id`.

Rows are read as they are asked for, and may be asked for again. A row's identity is what tells a repaired input from the one
that was answered: a sha256 of all its values, and of files that it names their size and time of modification. Their content
is not read for that: it would double what a job reads, and a file that is written anew has another time. What changes neither
(a copy with its time kept, of the same size) is not noticed.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.picture_series import natural_order
from perceiver_runtime.ray.library import library
from perceiver_runtime.ray.remote import file_system, files_at, is_address, read_address, size_and_time
from perceiver_runtime.tasks.jobs.listing import table as csv_rows
from perceiver_runtime.tasks.kinds.kind import InputKind

ID = "id"
_SOUND = "audio"  # of a clip: the .wav file beside it
_AT_ONCE = 64  # rows of Parquet, which may hold pictures

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Rows that can be read again and again. `folder` is what names in the columns `files` are relative to."""

    name: str
    read: Callable[[Sequence[str] | None], Iterator[Row]]
    folder: str
    files: tuple[str, ...]

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Every row, with these columns at least. Raises `InputError` where the file is damaged."""
        yield from self.read(columns)

    def opened(self, row: Row) -> Row:
        """The row with whole names of files."""
        return row | {name: self._whole(row[name]) for name in self.files if isinstance(row.get(name), str)}

    def _whole(self, name: str) -> str:
        if not name or is_address(name):
            return name
        return f"{self.folder.rstrip('/')}/{name}" if is_address(self.folder) else str(Path(self.folder) / name)

    def identity(self, row: Row) -> str:
        """32 hexadecimal digits, see the module."""
        digest = hashlib.sha256()
        for name, value in sorted(row.items()):
            parts = [name.encode(), *_content(value)]
            if name in self.files and isinstance(value, str):
                parts.append(repr(_stamp(self._whole(value))).encode())
            for part in parts:
                digest.update(b"%d:" % len(part) + part)
        return digest.hexdigest()[:32]


def open_source(given: str, kind: InputKind, answers: Sequence[str]) -> Source:
    """What `given` names, for a bundle that takes `kind` and whose answers have the columns `answers`. Raises `InputError`."""
    files = (*kind.columns, *kind.optional) if kind.suffixes else ()
    suffix = Path(given).suffix.lower()
    if suffix not in (".parquet", ".csv"):
        listed = files_at(given) if is_address(given) else _files(Path(given))
        if not any(name.endswith(".parquet") for name, _ in listed):
            return _folder(given, listed, kind, files)
        suffix = ".parquet"
    elif not is_address(given) and not Path(given).exists():
        raise InputError(f"there is no file {given}")
    parent = given.rpartition("/")[0] if is_address(given) else str(Path(given).parent)
    read, columns = _csv(given) if suffix == ".csv" else _parquet(given)
    missing = [name for name in (ID, *kind.columns) if name not in columns]
    if missing:
        wanted = ", ".join((ID, *kind.columns, *kind.optional))
        raise InputError(f"{given} has no column {', '.join(missing)}: the bundle reads {wanted}; found {', '.join(columns)}")
    taken = [name for name in answers if name in columns and name not in kind.columns]
    if taken:
        raise InputError(f"{given} has a column {', '.join(taken)}, which answers would replace: rename it first")
    return Source(given, read, parent, files)


def check_ids(source: Source) -> list[Any]:
    """The ids in order. Raises `InputError` where there are none, or one is missing or there twice."""
    found: dict[Any, None] = {}
    for place, row in enumerate(source.rows([ID]), 1):
        value = row[ID]
        if value is None or value != value or value == "":
            raise InputError(f"row {place} of {source.name} has no id: give each row one")
        if value in found:
            raise InputError(f"{source.name} has the id {value} twice: give each row its own")
        found[value] = None
    if not found:
        raise InputError(f"{source.name} holds no rows: there is nothing to do")
    return list(found)


def _files(folder: Path) -> list[tuple[str, str]]:
    try:
        return [(path.name, str(path)) for path in folder.iterdir() if path.is_file()]
    except NotADirectoryError:
        raise InputError(f"{folder} is no folder, .parquet or .csv file: give one of these") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error


def _folder(given: str, listed: list[tuple[str, str]], kind: InputKind, files: tuple[str, ...]) -> Source:
    """A row for each file, or each two that follow each other, or each line of texts."""
    suffixes = kind.suffixes or ((".txt",) if kind.columns == ("text",) else ())
    if not suffixes:
        raise InputError(f"{given} is a folder: give a table with {', '.join((ID, *kind.columns))}, .parquet or .csv")
    names = sorted(
        (name for name, _ in listed if name.lower().endswith(suffixes) and not name.startswith(".")),
        key=lambda name: natural_order(Path(name)),
    )
    if len(names) < (2 if kind.consecutive else 1):
        found = "one file, which makes no pair" if names else f"no files that end in {', '.join(suffixes)}"
        raise InputError(f"{given} holds {found}: there is nothing to do")
    if not kind.suffixes:
        return Source(given, lambda columns: _lines(dict(listed), names), given, files)
    if kind.consecutive:
        rows: list[Row] = [
            {ID: _text(first), **dict(zip(kind.columns, (first, second)))} for first, second in itertools.pairwise(names)
        ]
    else:
        rows = [{ID: _text(name), kind.columns[0]: name} for name in names]
    if _SOUND in kind.optional:
        there = {name for name, _ in listed}
        for row in rows:
            sound = f"{Path(row[kind.columns[0]]).stem}.wav"
            row[_SOUND] = sound if sound in there else None
    return Source(given, lambda columns: iter(rows), given, files)


def _text(name: str) -> str:
    """A name that may not be UTF-8 as text that is."""
    return name.encode("utf-8", "backslashreplace").decode()


def _lines(paths: dict[str, str], names: list[str]) -> Iterator[Row]:
    for name in names:
        try:
            with _opened(paths[name]) as file:
                for number, line in enumerate(file, 1):
                    yield {ID: _text(f"{name}:{number}"), "text": line.decode("utf-8").rstrip("\r\n")}
        except (OSError, ValueError) as error:
            raise InputError(f"{paths[name]} is no text in UTF-8 that can be read: {error}") from error


def _opened(path: str) -> IO[bytes]:
    return io.BytesIO(read_address(path)) if is_address(path) else open(path, "rb")


def _csv(given: str) -> tuple[Callable[[Sequence[str] | None], Iterator[Row]], list[str]]:
    if is_address(given):
        raise InputError(f"{given} is a CSV file at an address: copy it here first, or give a Parquet file")
    first = next(csv_rows(given, (), ()), None)
    if first is None:
        raise InputError(f"{given} has no line after its first: there is nothing to do")
    return lambda columns: csv_rows(given, (), ()), list(first)


def _parquet(given: str) -> tuple[Callable[[Sequence[str] | None], Iterator[Row]], list[str]]:
    arrow = library("pyarrow")
    system, path = file_system(given) if is_address(given) else (None, given)
    try:
        found = library("pyarrow.dataset").dataset(path, filesystem=system, format="parquet")
    except (OSError, ValueError) as error:
        raise _damaged(given, error) from error

    def read(columns: Sequence[str] | None) -> Iterator[Row]:
        try:
            for batch in found.to_batches(batch_size=_AT_ONCE, columns=columns):
                values = [[_value(value) for value in column] for column in batch.columns]
                yield from (dict(zip(batch.schema.names, row)) for row in zip(*values))
        except (OSError, ValueError, arrow.ArrowException) as error:
            raise _damaged(given, error) from error

    return read, list(found.schema.names)


def _value(scalar: Any) -> Any:
    """Lists as arrays of their type; pictures as Hugging Face keeps them, with `bytes` and `path`, as bytes."""
    value, kind = scalar.as_py(), scalar.type
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return value["bytes"]
    if not isinstance(value, list):
        return value
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    return np.asarray(value, kind.to_pandas_dtype())


def _damaged(given: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return InputError(f"{given} is no Parquet file that can be read: {reason}")


def _content(value: Any) -> tuple[bytes, bytes]:
    """A value's type and content."""
    kind = type(value).__name__.encode()
    if isinstance(value, bytes):
        return kind, value
    if isinstance(value, str):
        return kind, value.encode("utf-8", "surrogatepass")
    return kind, np.asarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode()


def _stamp(name: str) -> tuple[int, int] | None:
    """Size and time of a file, None where there is none that can be looked at: reading it will say why."""
    try:
        if is_address(name):
            return size_and_time(name)
        stat = Path(name).stat()
    except (InputError, OSError, ValueError):
        return None
    return stat.st_size, stat.st_mtime_ns
