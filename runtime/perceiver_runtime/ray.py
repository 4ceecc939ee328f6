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

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime.arrays import Array
from perceiver_runtime.errors import PerceiverError, UsageError
from perceiver_runtime.flo import write_flo
from perceiver_runtime.image_files import read_image, read_images
from perceiver_runtime.loading import load
from perceiver_runtime.video_files import read_video
from perceiver_runtime.wav_files import Sound, read_wav

Row = dict[str, Any]
ERROR = "error"


class BundleRows:
    """Rows of a table through a bundle, of any task.

    Columns read, by task: `flow` frame1, frame2; `fill-mask` and `text-classification` text; `image-classification` image;
    `multimodal` video, and audio if it is there; `features` whichever of these its checkpoint takes. Frames, images, videos
    and audio are names of files, or arrays; a sound file has its own sampling rate, arrays have that of a column sampling_rate,
    or the bundle's. Columns added: `flow` mean_dx, mean_dy, mean_length, max_length in pixels, and with a folder `flo` the name
    of a .flo file, after the row's `id`; `fill-mask` filled; classifiers label and probability; `features` latents (N, D); all
    `error`, empty where there is none.

    Texts to classify, and those for features, are `plain`: a `[MASK]` that a stranger wrote is ordinary text. With
    `plain=False` names of tokens stand for tokens, as transformers reads them.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        device: str = "cpu",
        threads: int = 1,
        flo: str | Path | None = None,
        plain: bool = True,
    ) -> None:
        """Load the bundle. Raises as `perceiver_runtime.load`."""
        self._plain = plain
        self._pipeline = load(bundle, device=device, threads=threads)
        self._task = self._pipeline.manifest.task
        self._flo = None if flo is None else Path(flo)
        kind = self._pipeline.input if self._task == "features" else _KINDS[self._task]
        if kind not in _READERS:
            raise UsageError(f"{bundle} takes {kind}, which tables have no column for: call its pipeline yourself")
        self._columns, self._read = _READERS[kind]
        self._answers: Callable[[list[Any]], list[Row]] = getattr(self, f"_{self._task.replace('-', '_')}")
        self.added = (*_ADDED[self._task], *(["flo"] if self._flo and self._task == "flow" else []))

    def __call__(self, batch: Mapping[str, Array]) -> dict[str, Any]:
        """A batch of rows, by column, with the columns added. Raises `UsageError` where a column is missing."""
        missing = [column for column in self._columns if column not in batch]
        if missing:
            raise UsageError(f"the table has no column {', '.join(missing)}: a bundle for {self._task} reads it")
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
            return self._answers(items) if items else []
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

    def _flow(self, items: list[Any]) -> list[Row]:
        rows = []
        for first, second in items:
            field = self._pipeline(first, second)
            length = np.hypot(field[..., 0], field[..., 1])
            numbers = {"mean_dx": field[..., 0].mean(), "mean_dy": field[..., 1].mean()}
            numbers |= {"mean_length": length.mean(), "max_length": length.max()}
            rows.append({**{name: float(number) for name, number in numbers.items()}, "field": field})
        return rows

    def _fill_mask(self, items: list[Any]) -> list[Row]:
        return [{"filled": self._pipeline.fill(text)} for text in items]

    def _text_classification(self, items: list[Any]) -> list[Row]:
        return self._labelled(items, plain=self._plain)

    def _image_classification(self, items: list[Any]) -> list[Row]:
        return self._labelled(items)

    def _labelled(self, items: list[Any], **options: bool) -> list[Row]:
        found = self._pipeline(items, top_k=1, **options)
        return [{"label": best.label, "probability": best.probability} for (best,) in found]

    def _multimodal(self, items: list[Any]) -> list[Row]:
        found = []
        for video, audio in items:
            (best,) = self._pipeline.labels(video, audio, top_k=1)
            found.append({"label": best.label, "probability": best.probability})
        return found

    def _features(self, items: list[Any]) -> list[Row]:
        return [{"latents": latents} for latents in self._pipeline(items, plain=self._plain)]


def _image(value: Any) -> Array:
    return value if isinstance(value, np.ndarray) else read_image(str(value))


def _pair(row: Row) -> tuple[Array, Array]:
    first, second = row["frame1"], row["frame2"]
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return _image(first), _image(second)
    found = read_images([str(first), str(second)])
    return found[0], found[1]


def _clip(row: Row) -> tuple[Any, Any]:
    """Frames and sound; a file's sampling rate goes with its samples, an array's is in `sampling_rate`, or the bundle's."""
    video, audio = row["video"], row.get("audio")
    frames = video if isinstance(video, np.ndarray) else read_video(str(video))
    if audio is None:
        return frames, None
    if not isinstance(audio, np.ndarray):
        return frames, read_wav(str(audio))
    rate = row.get("sampling_rate")
    return frames, audio if rate is None else Sound(audio, rate)


# kinds of input: the columns that must be there, and how a row is read
_READERS: dict[str, tuple[tuple[str, ...], Callable[[Row], Any]]] = {
    "frames": (("frame1", "frame2"), _pair),
    "text": (("text",), lambda row: str(row["text"])),
    "image": (("image",), lambda row: _image(row["image"])),
    "clip": (("video",), _clip),
}
_KINDS = {
    "flow": "frames",
    "fill-mask": "text",
    "text-classification": "text",
    "image-classification": "image",
    "multimodal": "clip",
}
_ADDED = {
    "flow": ("mean_dx", "mean_dy", "mean_length", "max_length"),
    "fill-mask": ("filled",),
    "text-classification": ("label", "probability"),
    "image-classification": ("label", "probability"),
    "multimodal": ("label", "probability"),
    "features": ("latents",),
}


def _column(values: Sequence[Any]) -> Any:
    """Numbers as float64, with NaN for none, texts and arrays as objects."""
    if any(isinstance(value, (str, np.ndarray)) for value in values):
        column = np.empty(len(values), object)
        column[:] = values
        return column
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
