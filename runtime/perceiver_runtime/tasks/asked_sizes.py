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

    def __init__(self, name: str, entry: GraphEntry, asked: dict[str, set[int]]) -> None:
        self.name, self.entry, self._asked = name, entry, asked

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """Zeros."""
        sizes: dict[str, int] = {}
        for spec in self.entry.inputs:
            for symbol, size in zip(spec.shape, inputs[spec.name].shape):
                if isinstance(symbol, str):
                    sizes[symbol] = size
                    self._asked.setdefault(symbol, set()).add(size)
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
    asked: dict[str, set[int]] = {}

    def open_zeros(bundle: Bundle, names: Sequence[str]) -> dict[str, _Zeros]:
        return {name: _Zeros(name, bundle.manifest.graphs[name], asked) for name in names}

    task, sample = check_task(bundle, None), Sample.read(bundle.read(FILE))
    with task.pipeline(bundle, RuntimeOptions(opener=open_zeros)) as pipeline:
        pipeline.known_answer(sample.inputs)
        task.call(pipeline, task.kind(bundle.manifest).from_sample(sample.inputs), 1)()
    return asked


def check_profile(bundle: Bundle, name: str, least: int, most: int) -> None:
    """Raise `UsageError` for sizes `least` to `most` of an engine that leave out what the pipeline asks for."""
    asked = asked_sizes(bundle).get(name, set())
    if asked and not (least <= min(asked) and max(asked) <= most):
        sizes = " and ".join(map(str, sorted(asked)))
        raise UsageError(
            f"{name} from {least} to {most} leaves out what {bundle.folder} asks for by itself, {sizes} (its tile, its known "
            f"answer): give {name}={min(least, *asked)}:OPT:{max(most, *asked)}"
        )
