"""A table of answers on the disk, a line each, JSON or CSV: written as they come, and continued where it ends.

Lines are in the order of the inputs and numbered. `run` in each line says which bundle made it, and with which options: a file
of another is not continued. What an interruption left of the last line is cut off. One process writes a table at a time.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from typing import IO, Any

from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.common.plain import plain
from perceiver_runtime.files.outputs import open_alone, replacing

FIRST = ("number", "input", "run")  # of every line


def run_id(bundle: Bundle, options: dict[str, Any]) -> str:
    """Of the manifest's sha256 and of the options: 16 digits and 4."""
    asked = json.dumps(plain(options), sort_keys=True)
    return f"{bundle.manifest_sha256[:16]}-{hashlib.sha256(asked.encode()).hexdigest()[:4]}"


class Lines:
    """A file of lines, open for appending. `columns` None: JSON, else CSV with these besides `FIRST` and `error`."""

    def __init__(self, path: str, run: str, columns: Sequence[str] | None, *, resume: bool) -> None:
        """Raises `InputError` where the file is not this run's, or cannot be written."""
        self._run = run
        self._columns = None if columns is None else (*FIRST, *columns, "error")
        self._path = path
        self.done: list[Any] = []  # the inputs that are there already
        self.failed: list[int] = []  # the numbers of those that have an error
        try:
            self._file: IO[bytes] = open_alone(path, keep=resume)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
        try:
            if resume and self._file.readable():
                self._continue()
            if self._columns is not None and self._file.tell() == 0:
                self._file.write(_csv_line(self._columns))
            self._file.flush()
        except BaseException as error:
            with contextlib.suppress(OSError):
                self._file.close()
            if isinstance(error, OSError):
                raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
            raise

    def _continue(self) -> None:
        """Read what is there, and stand at the end of its last complete line."""
        end = 0
        for place, (record, stop) in enumerate(_records(self._file, quoted=self._columns is not None)):
            if self._columns is None or place > 0:
                self._check(self._parsed(record))
            elif _csv_fields(record) != list(self._columns):
                raise InputError(f"{self._path} has other columns: give another name, or --force to write it anew")
            end = stop
        self._file.seek(end)
        self._file.truncate()

    def _parsed(self, record: bytes) -> dict[str, Any]:
        try:
            found = json.loads(record) if self._columns is None else dict(zip(self._columns, _csv_fields(record)))
            if not isinstance(found, dict):
                raise ValueError("it is no object")
            return {"number": int(found["number"]), "input": found["input"], "run": found["run"], "error": found.get("error")}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{self._path} is no table of answers ({error!r}): give another name") from error

    def _check(self, line: dict[str, Any]) -> None:
        if line["run"] != self._run:
            same = str(line["run"])[:16] == self._run[:16]
            other = "with other options" if same else "by another bundle"
            raise InputError(f"{self._path} was written {other}: give another name, or --force to write it anew")
        if line["number"] != len(self.done):
            raise InputError(f"{self._path} lacks line {len(self.done)}: give another name, or --force to write it anew")
        self.failed += [len(self.done)] if line["error"] else []
        self.done.append(line["input"])

    def check_input(self, number: int, shown: str | list[str]) -> None:
        """Raise `InputError` unless the line that is there is of this input."""
        kept, given = self.done[number], shown if self._columns is None else _cell(shown)
        if kept != given:
            found = f"{self._path} has {str(kept)[:200]!r} as input {number}, now it is {str(given)[:200]!r}"
            raise InputError(f"{found}: give the inputs that it was made of")

    def write(self, number: int, shown: str | list[str], answer: dict[str, Any]) -> None:
        """Add a line, and hand it to the system. Raises `InputError` where the disk is full."""
        text = self._line(number, shown, answer)
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror or error}; --resume goes on") from error

    def replace_failed(self, answers: Iterator[tuple[str | list[str], dict[str, Any]]]) -> None:
        """Put these in the places of the lines with an error, in their order; until the last, the table stays as it was."""
        failed = set(self.failed)
        self._file.seek(0)
        records = (record for record, _ in _records(self._file, quoted=self._columns is not None))
        with replacing(self._path) as path:
            new = open_alone(str(path), keep=False)
            try:
                if self._columns is not None:
                    new.write(next(records))
                for number, record in enumerate(records):
                    new.write(self._line(number, *next(answers)) if number in failed else record)
                new.flush()
                os.fsync(new.fileno())
            except BaseException:
                new.close()
                raise
        self._file.close()
        self._file, self.failed = new, []

    def _line(self, number: int, shown: str | list[str], answer: dict[str, Any]) -> bytes:
        line = {"number": number, "input": shown, "run": self._run, **answer}
        if self._columns is None:
            return json.dumps(plain(line), allow_nan=False).encode() + b"\n"
        return _csv_line([_cell(line.get(name, "")) for name in self._columns])

    def close(self) -> None:
        """Make sure that what was written is on the disk."""
        try:
            self._file.flush()
            if self._file.seekable():
                os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror or error}; --resume goes on") from error
        finally:
            with contextlib.suppress(OSError):
                self._file.close()


def _records(file: IO[bytes], *, quoted: bool) -> Iterator[tuple[bytes, int]]:
    """The complete records of a file, and where each ends; in a `quoted` one, line breaks in quotes are part of it."""
    record, end = b"", 0
    for line in file:
        record += line
        end += len(line)
        if line.endswith(b"\n") and not (quoted and record.count(b'"') % 2):
            yield record, end
            record = b""


def _csv_line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _csv_fields(record: bytes) -> list[str]:
    rows = list(csv.reader(io.StringIO(record.decode("utf-8", "replace"), newline="")))
    return rows[0] if len(rows) == 1 else []


def _cell(value: Any) -> str:
    """A text or a number as it is, the rest as JSON."""
    found = plain(value)
    return "" if found is None else found if isinstance(found, str) else json.dumps(found)
