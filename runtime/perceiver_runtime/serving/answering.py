"""Answers to what clients send, of any task: texts, and the contents of pictures, sounds and other files.

What a client may send is what a table may hold: the columns of the bundle's kind of input, each a text or a file's content.
What it may ask for besides are the options that `perceiver run` has for a table. A name of a file never comes from a client.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.common.plain import json_object
from perceiver_runtime.serving.wire import WireSpec, named
from perceiver_runtime.tasks.kinds.kind import InputKind
from perceiver_runtime.tasks.pipeline import Pipeline
from perceiver_runtime.tasks.registry import find_task
from perceiver_runtime.tasks.task import Task

ANSWER = "answer"  # the output that is JSON, and what models that read texts and files end in
NOT_OFFERED = ("size",)  # another size is another amount of memory, which whoever starts the server has to choose
MAX_ITEM_BYTES = 100_000_000  # of an item's arrays: a picture of 33 megapixels
_SUFFIXES = ((b"\x93NUMPY", 0, ".npy"), (b"GIF8", 0, ".gif"), (b"\x1aE\xdf\xa3", 0, ".mkv"), (b"AVI ", 8, ".avi"))
Value = str | bytes  # of a column


class Answering:
    """A bundle's pipeline for clients. Threads may share it."""

    def __init__(self, pipeline: Pipeline, *, max_item_bytes: int = MAX_ITEM_BYTES) -> None:
        """Of an open pipeline. Raises `UsageError` where no client can send what its bundle takes."""
        task, kind = _task_and_kind(pipeline.manifest)
        self.inputs, self.outputs = answer_specs(pipeline.manifest)
        assert kind.from_row is not None  # that was checked
        self.task, self.pipeline, self._read, self._max_item_bytes = task, pipeline, kind.from_row, max_item_bytes
        self._forms = {spec.name: kind.forms.get(spec.name, "path") for spec in self.inputs}
        self._arrays = task.arrays_of(pipeline.manifest)
        self._parser = _Options(add_help=False, allow_abbrev=False, prog="parameters")
        task.command.add_options(self._parser)

    def is_text(self, column: str) -> bool:
        """Whether a column holds a text, not a file's content."""
        return self._forms[column] == "text"

    def options(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What a client asked for, for the pipeline's call. Texts of strangers are plain unless it says `plain: false`.

        Raises `InputError` for what the task does not have.
        """
        given = {name.replace("-", "_"): _truth(value) for name, value in parameters.items()}
        refused = [name for name in given if name in NOT_OFFERED]
        if refused:
            raise InputError(f"{refused[0]} cannot be asked of a server: it changes how much memory an answer takes")
        plain = given.pop("plain", True) if self.task.takes_plain else None
        if plain not in (None, True, False):
            raise InputError("plain should be true or false")
        arguments = []
        for name, value in given.items():
            if value is not False:
                arguments.append(f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}"))
        options = self.task.command.options(self._parser.parse_args(arguments))
        return options if plain is None else {**options, "plain": plain}

    def answers(self, rows: Sequence[Mapping[str, Value]], parameters: Mapping[str, Any]) -> list[Any]:
        """The task's answer to each row of columns. Raises `InputError`, `BackendError`."""
        options, written = self.options(parameters), dict[str, str]()
        with contextlib.ExitStack() as files, _without_paths(written):
            items = []
            for number, row in enumerate(rows, 1):
                with _named("" if len(rows) == 1 else f"item {number} of {len(rows)}: "):
                    items.append(self._item(row, files, written))
            return self.task.answer(self.pipeline, items, options)

    def arrays(self, answer: Any) -> dict[str, Array]:
        """The arrays in an answer, by name."""
        if isinstance(answer, Mapping):
            return {name: np.asarray(answer[name]) for name in self._arrays}
        return {name: np.asarray(answer) for name in self._arrays}

    def tensors(self, inputs: Mapping[str, Array], wanted: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, Array]:
        """The same for arrays of bytes (B, 1) or (B,) by column: the outputs `wanted`, by name. Raises `InputError`."""
        count = max((array.size for array in inputs.values()), default=0)
        if not count or any(array.shape not in ((count,), (count, 1)) for array in inputs.values()):
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise InputError(f"give [B, 1] texts or files, as many of each and at least one; found {shapes or 'nothing'}")
        flat = {name: array.reshape(-1) for name, array in inputs.items()}
        answers = self.answers([{name: array[row] for name, array in flat.items()} for row in range(count)], parameters)
        found: dict[str, Array] = {}
        for name in wanted:
            if name == ANSWER:
                found[name] = np.array([json_bytes(each) for each in answers], object).reshape(-1, 1)
                continue
            each = [self.arrays(answer)[name] for answer in answers]
            if len({array.shape for array in each}) > 1:
                raise InputError(f"{name} differs in size between the items: ask for one after the other")
            found[name] = np.stack(each).astype(np.float32, copy=False)
        return found

    def _item(self, row: Mapping[str, Value], files: contextlib.ExitStack, written: dict[str, str]) -> Any:
        missing = [spec.name for spec in self.inputs if not spec.optional and spec.name not in row]
        unknown = [name for name in row if name not in self._forms]
        if missing or unknown:
            raise InputError(f"give {named(self.inputs)}; found {', '.join(map(repr, row)) or 'nothing'}")
        given = {name: self._value(name, value, files, written) for name, value in row.items()}
        try:
            item = self._read(given)
        except (ValueError, TypeError, OSError) as error:  # of another package's kind of input
            raise InputError(f"{', '.join(row)} cannot be read: {type(error).__name__}") from error
        size = _size(item)
        if size > self._max_item_bytes:
            raise InputError(
                f"an input has {size} bytes once it is decoded, {self._max_item_bytes} are allowed: make it smaller"
            )
        return item

    def _value(self, name: str, value: Value, files: contextlib.ExitStack, written: dict[str, str]) -> Any:
        form = self._forms[name]
        if form == "text":
            try:
                return value if isinstance(value, str) else value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{name} is not UTF-8: convert it") from error
        if isinstance(value, str):  # never a name of a file
            raise InputError(f"{name} should be the content of a file, found a text")
        if not value:
            raise InputError(f"{name} is empty")
        if form == "bytes":
            return bytes(value)
        folder = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="perceiver-")))
        path = folder / f"{name}{_suffix(value)}"
        path.write_bytes(value)
        written[str(path)] = name
        return str(path)


def answer_specs(manifest: Manifest) -> tuple[list[WireSpec], list[WireSpec]]:
    """What a model that answers texts and files takes and gives, of a bundle: its columns, JSON and arrays.

    Raises `UsageError` where no client can send what the bundle takes.
    """
    task, kind = _task_and_kind(manifest)
    inputs = [WireSpec(column, "bytes", ("B", 1), column in kind.optional) for column in (*kind.columns, *kind.optional)]
    arrays = [WireSpec(name, "float32", ("B", *axes)) for name, axes in task.arrays_of(manifest).items()]
    return inputs, [WireSpec(ANSWER, "bytes", ("B", 1)), *arrays]


def _task_and_kind(manifest: Manifest) -> tuple[Task, InputKind]:
    task = find_task(manifest.task)
    assert task is not None  # its pipeline was opened, or its bundle checked
    kind = task.kind(manifest)
    if kind.from_row is None:
        raise UsageError(f"a {task.name} bundle takes {kind.name}, which no client can send")
    return task, kind


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"a parameter cannot be used: {message.replace('argument --', '')}")


def json_bytes(answer: Any) -> bytes:
    """An answer as a JSON object in UTF-8."""
    return json.dumps(json_object(answer), allow_nan=False, ensure_ascii=False).encode()


def _truth(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}{error}") from error


def _suffix(content: bytes) -> str:
    """What the name of such a file ends in: readers of clips go by it."""
    return next((suffix for magic, place, suffix in _SUFFIXES if content[place : place + len(magic)] == magic), ".mp4")


@contextlib.contextmanager
def _without_paths(written: Mapping[str, str]) -> Iterator[None]:
    """Where a client's file was written to is not its business: errors call it by its column."""
    try:
        yield
    except InputError as error:
        message = str(error)
        for path, name in written.items():
            message = message.replace(path, name)
        raise InputError(message) from error


def _size(item: Any) -> int:
    """Bytes of the arrays in an item."""
    if isinstance(item, np.ndarray):
        return item.nbytes
    if isinstance(item, Mapping):
        return sum(map(_size, item.values()))
    return sum(map(_size, item)) if isinstance(item, (tuple, list)) else 0
