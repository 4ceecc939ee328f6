"""Bundles in Ray Data's `map_batches`: loaded once for each actor, answers beside the inputs, an error column.

    import ray
    from perceiver_runtime.ray import BundleRows

    rows = ray.data.read_parquet("pairs.parquet")                 # columns frame1, frame2: names of files
    table = rows.map_batches(BundleRows, fn_constructor_args=("flow",), compute=ray.data.ActorPoolStrategy(size=4),
                             num_cpus=1, batch_size=8)            # … and mean_dx, mean_dy, mean_length, max_length, error
    table.write_parquet("motion")

A row that cannot be read or answered has the reason in `error` and nothing elsewhere; others of its batch are not touched.
Ray itself is not imported here: an actor is an object of this class. Actors must not fight over cores: `threads` (1 by default)
should be what `num_cpus` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.common.arrays import Array
from perceiver_runtime.common.errors import PerceiverError, UsageError
from perceiver_runtime.files.flo import write_flo
from perceiver_runtime.tasks.loading import load
from perceiver_runtime.tasks.registry import find_task
from perceiver_runtime.tasks.task import Row

ERROR = "error"


class BundleRows:
    """Rows of a table through a bundle, of any task.

    Columns read, by task: `flow` frame1, frame2; `fill-mask` and `text-classification` text; `image-classification` image;
    `multimodal` video, and audio if it is there; `features` whichever of these its checkpoint takes; `arrays` its
    inputs and queries by name; `token-classification` text; `question-answering` question, text; `object-detection` image;
    `audio-classification` audio; `video-classification` video. Frames and images are what `read_image` takes (names of files,
    their bytes, arrays), videos and audio likewise, see `files/clips.py`; a sound file has its own sampling rate, arrays have
    that of a column sampling_rate, or the bundle's.

    Columns added: `flow` mean_dx, mean_dy, mean_length, max_length in pixels, and with a folder `flo` the name
    of a .flo file, after the row's `id`; `fill-mask` filled; classifiers label and probability; `features` latents (N, D);
    `token-classification` spans and `object-detection` objects, in JSON; `question-answering` answer, score, start, end;
    `arrays` its outputs by name; all `error`, empty where there is none.

    Texts to classify, and those for features, are `plain`: a `[MASK]` that a stranger wrote is ordinary text. With
    `plain=False` names of tokens stand for tokens, as transformers reads them.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        device: str | Sequence[str] = "cpu",
        threads: int = 1,
        flo: str | Path | None = None,
        plain: bool = True,
    ) -> None:
        """Load the bundle. Raises as `perceiver_runtime.load`."""
        self._pipeline = load(bundle, device=device, threads=threads)
        found = find_task(self._pipeline.manifest.task)
        assert found is not None  # it was loaded
        self._task = found
        self._options = {"plain": plain} if found.takes_plain else {}
        kind = self._task.kind(self._pipeline.manifest)
        if kind.from_row is None:
            raise UsageError(f"{bundle} takes {kind.name}, which tables have no column for: call its pipeline yourself")
        self._read, self._columns = kind.from_row, kind.columns
        self._flo = None if flo is None else Path(flo)
        self.added = (
            *found.columns_of(self._pipeline.manifest),
            *(["flo"] if self._flo and self._task.gives_field else []),
        )

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Any]:
        """A batch of rows, by column, with the columns added. Raises `UsageError` where a column is missing."""
        missing = [column for column in self._columns if column not in batch]
        if missing:
            raise UsageError(f"the table has no column {', '.join(missing)}: a bundle for {self._task.name} reads it")
        count = len(next(iter(batch.values())))
        rows: list[Row] = [{} for _ in range(count)]
        items: dict[int, Any] = {}
        for place in range(count):
            try:
                items[place] = self._read({name: column[place] for name, column in batch.items()})
            except (PerceiverError, OSError, ValueError) as error:
                rows[place] = {ERROR: _reason(error)}
        for place, answer in zip(items, self._answered(list(items.values()))):
            rows[place] = answer
            if self._flo is not None and "field" in answer:
                answer["flo"] = self._write(answer["field"], batch["id"][place] if "id" in batch else None, rows, place)
        names = (*self.added, ERROR)
        return {**batch, **{name: _column([row.get(name, "" if name == ERROR else None) for row in rows]) for name in names}}

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


def _column(values: Sequence[Any]) -> Any:
    """Numbers as float64, with NaN for none, texts and arrays as objects."""
    if any(isinstance(value, (str, np.ndarray)) for value in values):
        column = np.empty(len(values), object)
        column[:] = values
        return column
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
