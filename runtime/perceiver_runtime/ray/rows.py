"""Rows of a table through a bundle, as `map_batches` of Ray Data hands them out; Ray itself is not imported here.

The bundle is loaded once for each object, which is an actor in Ray. A row that cannot be read or answered has the reason in
`error` and nothing elsewhere; others of its batch are not touched. How many rows run at once follows from what a row costs: a
cheap model gains from eight or fifty together, a dear one gains nothing and would hold as many inputs in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.common.amounts import whole_number
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import PerceiverError, UsageError
from perceiver_runtime.files.flo import write_flo
from perceiver_runtime.ray.pace import Pace
from perceiver_runtime.ray.remote import is_address, read_address
from perceiver_runtime.tasks.loading import load
from perceiver_runtime.tasks.registry import find_task
from perceiver_runtime.tasks.task import Row

ERROR = "error"
_SECONDS = 0.25  # that the rows of one run take: longer gains nothing, and holds more inputs in memory
_MOST = 64  # rows of one run


class BundleRows:
    """Rows of a table through a bundle, of any task.

    Columns read, by task: `flow` frame1, frame2; `fill-mask` and `text-classification` text; `image-classification` image;
    `multimodal` video, and audio if it is there; `features` whichever of these its checkpoint takes; `arrays` its
    inputs and queries by name; `token-classification` text; `question-answering` question, text; `object-detection` image;
    `audio-classification` audio; `video-classification` video. Frames and images are what `read_image` takes (names of files,
    their bytes, arrays), videos and audio likewise, see `files/clips.py`; a sound file has its own sampling rate, arrays have
    that of a column sampling_rate, or the bundle's. A name may be an address (s3://, gs://, …), see remote.py.

    Columns added: `flow` mean_dx, mean_dy, mean_length, max_length in pixels, and with a folder `flo` the name
    of a .flo file, after the row's `id`; `fill-mask` filled; classifiers label and probability; `features` latents (N, D);
    `token-classification` spans and `object-detection` objects, in JSON; `question-answering` answer, score, start, end;
    `arrays` its outputs by name; all `error`, empty where there is none.

    Texts to classify, and those for features, are `plain`: a `[MASK]` that a stranger wrote is ordinary text. With
    `plain=False` names of tokens stand for tokens, as transformers reads them.

    With `parallel`, so many runs go on at once in this process, each with `threads` threads: they share one copy of the
    weights, of which as many actors have one each. With `batch`, so many rows are in a run; else as many as take a quarter of a
    second, 64 at most.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        device: str | Sequence[str] = "cpu",
        threads: int = 1,
        parallel: int = 1,
        batch: int | None = None,
        flo: str | Path | None = None,
        plain: bool = True,
    ) -> None:
        """Load the bundle. Raises as `perceiver_runtime.load`."""
        self._parallel = whole_number("parallel", parallel)
        self._pace = Pace(_SECONDS, _MOST)
        self._batch = None if batch is None else whole_number("batch", batch)
        self._pipeline = load(bundle, device=device, threads=threads)
        found = find_task(self._pipeline.manifest.task)
        assert found is not None  # it was loaded
        self._task = found
        self._options = {"plain": plain} if found.takes_plain else {}
        kind = self._task.kind(self._pipeline.manifest)
        if kind.from_row is None:
            raise UsageError(f"{bundle} takes {kind.name}, which tables have no column for: call its pipeline yourself")
        self._from_row, self._columns = kind.from_row, kind.columns
        self._files = (*kind.columns, *kind.optional) if kind.suffixes else ()
        self._flo = None if flo is None else Path(flo)
        self.added = (
            *found.columns_of(self._pipeline.manifest),
            *(["flo"] if self._flo and self._task.gives_field else []),
        )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Any]:
        """A batch of rows, by column, with the columns added.

        Raises `UsageError` where a column is missing, or has the name of one that is added.
        """
        missing = [column for column in self._columns if column not in batch]
        if missing:
            raise UsageError(f"the table has no column {', '.join(missing)}: a bundle for {self._task.name} reads it")
        taken = [name for name in (*self.added, ERROR) if name in batch and name not in self._columns]
        if taken:
            raise UsageError(f"the table has a column {', '.join(taken)}, which answers would replace: rename it first")
        count = len(next(iter(batch.values())))
        rows: list[Row] = [{} for _ in range(count)]
        share = -(-count // self._parallel)  # so that each run has a part
        parts = _Parts(count, lambda: self._batch or min(self._pace.rows, share))
        if self._parallel == 1:
            self._work(parts, batch, rows)
        else:
            with ThreadPoolExecutor(self._parallel) as threads:
                for done in [threads.submit(self._work, parts, batch, rows) for _ in range(self._parallel)]:
                    done.result()
        names = (*self.added, ERROR)
        return {**batch, **{name: _column([row.get(name, "" if name == ERROR else None) for row in rows]) for name in names}}

    def _work(self, parts: _Parts, batch: Mapping[str, Array], rows: list[Row]) -> None:
        """Take parts of the batch until none is left, and fill in their rows."""
        for part in parts:
            start = time.perf_counter()
            items: dict[int, Any] = {}
            for place in part:
                try:
                    items[place] = self._read({name: column[place] for name, column in batch.items()})
                except (PerceiverError, OSError, ValueError) as error:
                    rows[place] = {ERROR: _reason(error)}
            for place, answer in zip(items, self._answered(list(items.values()))):
                rows[place] = answer
                if self._flo is not None and "field" in answer:
                    answer["flo"] = self._write(answer["field"], batch["id"][place] if "id" in batch else None, rows, place)
            self._pace.measured(len(part), time.perf_counter() - start)

    def _read(self, row: dict[str, Any]) -> Any:
        for name in self._files:
            if is_address(row.get(name)):
                row[name] = read_address(row[name])
        return self._from_row(row)

    def _answered(self, items: list[Any]) -> list[Row]:
        """All at once, or where that fails one after the other, so that each failure is of its own row."""
        try:
            return self._task.rows(self._pipeline, items, **self._options) if items else []
        except PerceiverError as error:
            if len(items) == 1:
                return [{ERROR: _reason(error)}]
        return [row for item in items for row in self._answered([item])]

    def _write(self, field: Array, row_id: Any, rows: list[Row], place: int) -> str | None:
        if row_id is None:
            rows[place][ERROR] = "the table has no column id to name a .flo file after"
            return None
        assert self._flo is not None  # the caller has looked
        path = self._flo / f"{Path(str(row_id)).name}.flo"
        try:
            self._flo.mkdir(parents=True, exist_ok=True)
            write_flo(path, field)
        except (OSError, PerceiverError) as error:
            rows[place][ERROR] = _reason(error)
            return None
        return str(path)


class _Parts:
    """Numbers of rows, handed out in parts of the size asked for at that time, to several threads."""

    def __init__(self, count: int, size: Callable[[], int]) -> None:
        self._next, self._count, self._size = 0, count, size
        self._one_at_a_time = threading.Lock()

    def __iter__(self) -> Iterator[range]:
        while True:
            with self._one_at_a_time:
                part = range(self._next, min(self._next + self._size(), self._count))
                self._next = part.stop
            if not part:
                return
            yield part


def _column(values: Sequence[Any]) -> Any:
    """Numbers as float64, with NaN for none; texts, arrays, and where there is no value at all, as objects."""
    if any(isinstance(value, (str, np.ndarray)) for value in values) or all(value is None for value in values):
        column = np.empty(len(values), object)
        column[:] = values
        return column
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
