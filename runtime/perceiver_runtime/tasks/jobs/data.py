"""Data with right answers, or without: a folder, a CSV file, or names of inputs; for `perceiver evaluate` and `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from perceiver_runtime.common.errors import InputError, UsageError
from perceiver_runtime.tasks.jobs.listing import Entry, named, read_entry, table
from perceiver_runtime.tasks.kinds.kind import InputKind
from perceiver_runtime.tasks.metrics.metric import Metric, Row
from perceiver_runtime.tasks.several import Item, attempt


class Example(NamedTuple):
    """An input and the right answer, or why one of them is not there."""

    item: Item
    truth: Any


def labelled_rows(data: str, metric: Metric, kind: InputKind) -> list[Row]:
    """The rows of a CSV file, or of a folder laid out as the metric says. Raises `InputError`, `UsageError`."""
    path = Path(data)
    needed = [*kind.columns, metric.truth]
    if path.is_dir():
        if metric.rows is None:
            raise UsageError(f"{data} is a folder: give a CSV file with columns {', '.join(needed)}")
        return metric.rows(path)
    files = [*(needed[:-1] if kind.suffixes else []), *(needed[-1:] if metric.truth_is_file else [])]
    files += [column for column in kind.optional if kind.suffixes]
    rows = list(table(path, needed, files))
    if not rows:
        raise InputError(f"{data} has no line after its first")
    return rows


def examples(rows: Sequence[Row], metric: Metric, kind: InputKind) -> Iterator[Example]:
    """Each row, opened."""
    for number, row in enumerate(rows, 1):
        given = {name: row[name] for name in (*kind.columns, *kind.optional) if name in row}
        item = read_entry(Entry(dict(given), f"row {number}"), kind)
        truth = attempt(partial(metric.read_truth, row[metric.truth]))
        yield Example(item._replace(value=truth) if isinstance(truth, InputError) else item, truth)


def inputs(names: Sequence[str], kind: InputKind) -> list[Entry]:
    """Of names as `perceiver run` takes them, or the rows of one CSV file, whatever else is in it."""
    if len(names) == 1 and Path(names[0]).suffix.lower() == ".csv" and ".csv" not in kind.suffixes:
        files = [*kind.columns, *kind.optional] if kind.suffixes else []
        columns = (*kind.columns, *kind.optional)
        rows = table(names[0], kind.columns, files)
        return [Entry({name: row[name] for name in columns if name in row}, f"row {n}") for n, row in enumerate(rows, 1)]
    return list(named(names, kind))
