"""The task on a device: CSV files or arrays of (steps, channels) to labels. It needs numpy alone."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perceiver_runtime import InputError, IntegrityError
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array
from perceiver_runtime.tasks.kinds.kind import Constants, InputKind, Inputs, Reader, TextOptions
from perceiver_runtime.tasks.labels import Labels, LabelScore
from perceiver_runtime.tasks.pipeline import Floats, Pipeline, RuntimeOptions
from perceiver_runtime.tasks.task import LABEL_COLUMNS, Load, RunCommand, Task, always, label_rows


def read_series(path: Any) -> Array:
    """A CSV file as float32 (steps, channels)."""
    try:
        return np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no CSV file of numbers: {error}") from error


def _reader(constants: Constants) -> Reader:
    channels = constants.get("channels")
    if type(channels) is not int:
        raise IntegrityError(f"the manifest's series have {channels!r} channels: export the bundle again")

    def read(items: list[Any], _: TextOptions) -> Inputs:
        for item in items:
            if item.ndim != 2 or item.shape[1] != channels or not len(item) or not np.isfinite(item).all():
                raise InputError(f"a series should be finite numbers (steps, {channels}), found {item.shape}")
        series = np.zeros((len(items), max(map(len, items)), channels), np.float32)
        mask = np.zeros(series.shape[:2], np.int64)
        for row, item in enumerate(items):
            series[row, : len(item)], mask[row, : len(item)] = item, 1
        return {"series": series, "attention_mask": mask}

    return read


def _sample_files(inputs: Mapping[str, Array], folder: Path, constants: Constants) -> list[str]:
    np.savetxt(folder / "series.csv", inputs["series"], delimiter=",")
    return ["--", str(folder / "series.csv")]


def _add_arguments(parser: argparse.ArgumentParser, constants: Constants) -> None:
    parser.add_argument("inputs", nargs="+", metavar="CSV", help="a file of numbers, a step a line")


SERIES = InputKind(
    name="series",
    add_arguments=_add_arguments,
    from_arguments=lambda arguments, constants: [read_series(name) for name in arguments.inputs],
    from_sample=lambda inputs: inputs["series"],
    sample_files=_sample_files,
    reader=_reader,
    columns=("series",),
    from_row=lambda row: row["series"] if isinstance(row["series"], np.ndarray) else read_series(str(row["series"])),
)


class SeriesPipeline(Pipeline):
    """Labels of series."""

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self._read, self.labels = SERIES.reader(bundle.manifest.processor), Labels.of(bundle)
        super().__init__(bundle, runtime_options)

    def __call__(self, items: Array | list[Array], *, top_k: int = 5) -> Any:
        """The best labels of a series (steps, channels), or of each of a list."""
        batch = items if isinstance(items, list) else [items]
        scores: list[list[LabelScore]] = [
            self.labels.scores(row, top_k) for part in self.batches(batch) for row in self._logits(part)
        ]
        return scores if isinstance(items, list) else scores[0]

    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs `series`; output `logits` (labels,)."""
        return {"logits": self._logits([inputs["series"]])[0]}

    def _logits(self, items: Any) -> Floats:
        with self.timing.stage("preprocess"):
            inputs = self._read(list(items), False)
        latents = self.encode_inputs(inputs, (len(items), None, None))[0]
        return self.run("decode", {"latents": latents}, shape=(len(items), len(self.labels.names)))


def _run_arguments(parser: argparse.ArgumentParser, manifest: Manifest) -> None:
    SERIES.add_arguments(parser, manifest.processor)


def _run(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    items = SERIES.from_arguments(arguments, {})
    with load() as classify:
        found = classify(items, top_k=1)
        return {"provider": classify.provider, "labels": [dataclasses.asdict(labels[0]) for labels in found]}


TASK = Task(
    name="series-classification",
    about="a series of numbers to labels",
    aliases=("series",),
    pipeline=SeriesPipeline,
    kind=always(SERIES),
    command=RunCommand("CSV …", _run_arguments, _run, lambda result: "\n".join(row["label"] for row in result["labels"])),
    columns=LABEL_COLUMNS,
    rows=label_rows,
    single_call=True,
)
