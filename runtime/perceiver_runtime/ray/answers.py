"""The table of answers: Parquet files in a folder, which a job writes, continues and corrects.

A row has its input's columns (bytes and arrays left out), the answer, `error`, and what it was made of: `manifest_sha256` of
the bundle and `input_identity`, see sources.py. Files are written under a hidden name and then renamed, so that a killed job
leaves whole files; they hold what was answered in some seconds, however rows were run. One job at a time may write.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceiver_runtime.common.errors import InputError
from perceiver_runtime.ray.library import library
from perceiver_runtime.ray.rows import ERROR

ID = "id"
BUNDLE, IDENTITY = "manifest_sha256", "input_identity"
OURS = (ID, ERROR, BUNDLE, IDENTITY)
_BYTES = 1 << 26  # of answers that are kept in memory


class Done(NamedTuple):
    """An answer that is there: of which input, and whether it is an error."""

    identity: str
    failed: bool


class Answers:
    """The table in `folder`, of one bundle."""

    def __init__(self, folder: Path, manifest_sha256: str, *, fresh: bool = False, seconds: float = 10.0) -> None:
        """What is there: `done`, by id. `fresh` removes it. Raises `InputError` where it is another's, or another bundle's."""
        self._folder, self._bundle, self._seconds = folder, manifest_sha256, seconds
        self._arrow, self._parquet = library("pyarrow"), library("pyarrow.parquet")
        self._kept: list[dict[str, Any]] = []
        self._kept_bytes, self._saved = 0, time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            for path in folder.glob(".*.parquet"):  # that a killed job was writing
                path.unlink()
        except OSError as error:
            raise self._unwritable(error) from error
        self._schema = self._arrow.schema([])
        self.done: dict[Any, Done] = {}
        try:
            self._open(fresh=fresh)
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, *, fresh: bool) -> None:
        for path in self._files():
            self._read(path, fresh=fresh)
        for path in self._files() if fresh else ():
            path.unlink()
        self._unify()

    def remove(self, ids: Collection[Any]) -> None:
        """Take these rows out: they are answered again."""
        wanted = {each for each in ids if each in self.done}
        for path in self._files() if wanted else ():
            table = self._parquet.read_table(path)
            stays = [each not in wanted for each in table[ID].to_pylist()]
            if all(stays):
                continue
            left = table.filter(self._arrow.array(stays))
            self._write(left, path) if len(left) else path.unlink()
        for each in wanted:
            del self.done[each]

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows with `id`, `input_identity`, the answer and `error`; written every few seconds. Raises `InputError`."""
        for row in rows:
            self._kept.append({name: _cell(value) for name, value in row.items()} | {BUNDLE: self._bundle})
            self._kept_bytes += sum(_size(value) for value in row.values())
            self.done[row[ID]] = Done(row[IDENTITY], row[ERROR] != "")
        if self._kept_bytes >= _BYTES or time.monotonic() - self._saved >= self._seconds:
            self.save()

    def save(self) -> None:
        """Write what is kept. Raises `InputError`."""
        self._saved = time.monotonic()
        if not self._kept:
            return
        names = list(dict.fromkeys(name for row in self._kept for name in row))
        try:
            table = self._arrow.table({name: [row.get(name) for row in self._kept] for name in names})
        except (self._arrow.ArrowException, ValueError, TypeError) as error:
            raise InputError(f"{self._folder}: answers that do not fit one table: {error}") from error
        before, number = self._schema, 0
        self._schema = self._unified(table.schema)
        for path in self._files():
            number = max(number, int(path.stem.rpartition("-")[2]) + 1 if path.stem.rpartition("-")[2].isdigit() else 0)
        self._write(table, self._folder / f"answers-{number:05}.parquet")
        self._kept, self._kept_bytes = [], 0
        if before.names and before != self._schema:
            self._unify()

    def errors(self) -> list[tuple[Any, str]]:
        """The ids of rows without an answer, and why."""
        found = []
        for path in self._files():
            table = self._parquet.read_table(path, columns=[ID, ERROR])
            found += [(each, why) for each, why in zip(table[ID].to_pylist(), table[ERROR].to_pylist()) if why]
        return found

    def close(self) -> None:
        """Write what is kept, and let others write. Raises `InputError`."""
        try:
            self.save()
        finally:
            os.close(self._lock)

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.parquet") if not path.name.startswith("."))

    def _read(self, path: Path, *, fresh: bool) -> None:
        try:
            schema = self._parquet.read_schema(path)
            if not set(OURS) <= set(schema.names):
                raise InputError(f"{path} was not written by a job of this version: give another folder for the answers")
            table = self._parquet.read_table(path, columns=list(OURS))
        except (OSError, self._arrow.ArrowException) as error:
            raise InputError(f"{path} cannot be read ({error}): give another folder, or remove this file") from error
        if fresh:
            return
        if set(table[BUNDLE].to_pylist()) - {self._bundle}:
            raise InputError(f"{self._folder} holds answers of another bundle: give another folder, or --fresh to remove them")
        self._schema = self._unified(schema)
        columns = (table[name].to_pylist() for name in (ID, IDENTITY, ERROR))
        self.done.update((each, Done(identity, why != "")) for each, identity, why in zip(*columns))

    def _unified(self, schema: Any) -> Any:
        try:
            return self._arrow.unify_schemas([self._schema, schema.remove_metadata()], promote_options="permissive")
        except self._arrow.ArrowException as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self._folder} holds columns of other types ({reason}): give another folder, or --fresh"
            ) from error

    def _unify(self) -> None:
        """Give all files the types that are known by now: a file of errors alone knows none of its answers."""
        for path in self._files():
            if self._parquet.read_schema(path).remove_metadata() != self._schema:
                self._write(self._parquet.read_table(path), path)

    def _write(self, table: Any, path: Path) -> None:
        hidden, there = path.with_name(f".{path.name}"), set(table.schema.names)
        columns = [
            table[field.name].cast(field.type) if field.name in there else self._arrow.nulls(len(table), field.type)
            for field in self._schema
        ]
        try:
            self._parquet.write_table(self._arrow.table(columns, schema=self._schema), hidden)
            hidden.replace(path)
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _locked(self) -> int:
        """An open file that no other process holds. Raises `InputError`."""
        file = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl = importlib.import_module("fcntl")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise InputError(f"another job writes to {self._folder}: wait until it has ended") from None
        except (ImportError, OSError):  # a system, or a file system, without locks
            pass
        return file

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self._folder} cannot be written: {error.strerror or error}; the same command goes on from there")


def _cell(value: Any) -> Any:
    """What Parquet holds: plain values, nested lists for arrays, NaN as none, text that UTF-8 has."""
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 else value if value.ndim == 1 else [_cell(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return None if value != value else value


def _size(value: Any) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, (str, bytes)) else 8
