"""The sizes that a bundle's pipeline asks its graphs for by itself: of its known answer, and of a call on the same input.

An engine whose sizes leave these out fails in `perceiver verify`, `run --sample` and `bench`. They are found by running the
pipeline on graphs that answer zeros of the right shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.device import Arithmetic
from perceiver_runtime.backends.tensorrt.builder import Profiles
from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import UsageError
from perceiver_runtime.tasks.known_answer import FILE, Sample
from perceiver_runtime.tasks.loading import check_task
from perceiver_runtime.tasks.pipeline import RuntimeOptions


class _Zeros:
    """A graph that answers zeros, and notes the sizes that it is asked for."""

    provider = "nothing"
    arithmetic: Arithmetic = "float32"

    def __init__(self, name: str, entry: GraphEntry, asked: list[dict[str, int]]) -> None:
        self.name, self.entry, self._asked = name, entry, asked

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """Zeros."""
        sizes: dict[str, int] = {}
        for spec in self.entry.inputs:
            for symbol, size in zip(spec.shape, inputs[spec.name].shape):
                if isinstance(symbol, str):
                    sizes[symbol] = size
        if sizes not in self._asked:
            self._asked.append(sizes)
        return [np.zeros([_size(each, sizes) for each in spec.shape], np.float32) for spec in self.entry.outputs]

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Zeros."""
        return list(self.run(inputs))

    def close(self) -> None:
        """Nothing to release."""


def _size(symbol: int | str, sizes: Mapping[str, int]) -> int:
    """Of a dimension: a number, a size of the inputs, or a product such as H*W of these."""
    if not isinstance(symbol, str):
        return symbol
    return sizes[symbol] if symbol in sizes else math.prod(_factor(part, sizes) for part in symbol.split("*"))


def _factor(part: str, sizes: Mapping[str, int]) -> int:
    return int(part) if part.isdigit() else sizes.get(part, 1)


def asked_sizes(bundle: Bundle) -> dict[str, set[int]]:
    """By dynamic size: what the pipeline asks for. Raises `UsageError`, `IntegrityError`."""
    found: dict[str, set[int]] = {}
    for sizes in asked_runs(bundle):
        for name, size in sizes.items():
            found.setdefault(name, set()).add(size)
    return found


def asked_runs(bundle: Bundle) -> list[dict[str, int]]:
    """The dynamic sizes of each run of a graph that the pipeline asks for. Raises `UsageError`, `IntegrityError`."""
    asked: list[dict[str, int]] = []

    def open_zeros(bundle: Bundle, names: Sequence[str]) -> dict[str, _Zeros]:
        return {name: _Zeros(name, bundle.manifest.graphs[name], asked) for name in names}

    task, sample = check_task(bundle, None), Sample.read(bundle.read(FILE))
    with task.pipeline(bundle, RuntimeOptions(opener=open_zeros)) as pipeline:
        pipeline.known_answer(sample.inputs)
        task.call(pipeline, task.kind(bundle.manifest).from_sample(sample.inputs), 1)()
    return asked


def check_profiles(bundle: Bundle, profiles: Profiles) -> None:
    """Raise `UsageError` unless each run that the pipeline asks for has room in one of the profiles."""
    runs = asked_runs(bundle)
    for sizes in runs:
        outside = [
            [name for name, size in sizes.items() if not profile[name].min <= size <= profile[name].max] for profile in profiles
        ]
        nearest = min(range(len(profiles)), key=lambda number: len(outside[number]))
        if not outside[nearest]:
            continue
        name = outside[nearest][0]
        least, most = profiles[nearest][name].min, profiles[nearest][name].max
        asked = sorted({each[name] for each in runs if name in each})
        sizes_text = " and ".join(map(str, asked))
        another = ", or add a --profile for it" if len(profiles) > 1 else ""
        raise UsageError(
            f"{name} from {least} to {most} leaves out what {bundle.folder} asks for by itself, {sizes_text} (its "
            f"tile, its known answer): give {name}={min(least, *asked)}:OPT:{max(most, *asked)}{another}"
        )
