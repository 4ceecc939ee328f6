"""How much memory a bundle needs, and what fits into how much: from numbers that the export left in the manifest.

They are of weights and of the values that live at once while a graph runs on ONNX Runtime's CPU provider, for the sizes that
the export planned for: one input of the usual size. Python, numpy and ONNX Runtime take about 60 MB more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import InputError, IntegrityError
from perceiver_runtime.common.records import record

KEPT = 256 << 20  # bytes that a graph may keep from one run for the next


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes: of the weights, of `encode` at its peak, of what is kept from it, and of each decoder as (fixed, of a query)."""

    weights: int
    encode: int
    kept: int
    decoders: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, manifest: Manifest) -> MemoryPlan:
        """Read the manifest's `choices["memory"]`. Raises `InputError` where there is none, `IntegrityError`."""
        if "memory" not in manifest.choices:
            raise InputError("this bundle has no memory plan: export it again for ONNX Runtime, or leave out the memory limit")
        return cls.read(manifest.choices["memory"])

    @classmethod
    def read(cls, found: Any) -> MemoryPlan:
        """From JSON. Raises `IntegrityError`."""
        return record(cls, found, "manifest.choices.memory", ignored=None)

    def __post_init__(self) -> None:
        numbers = [self.weights, self.encode, self.kept, *(number for pair in self.decoders.values() for number in pair)]
        if min(numbers) < 0:
            raise IntegrityError(f"the manifest's memory plan has {min(numbers)} bytes: export the bundle again")

    def peak(self, queries: int) -> int:
        """Bytes for one input that is decoded `queries` at once."""
        decoding = [self.kept + fixed + each * queries for fixed, each in self.decoders.values()]
        return self.weights + max([self.encode, *decoding])

    def queries(self, limit: int, usual: int) -> int:
        """The most queries, `usual` at most, that may be decoded at once within `limit` bytes. Raises `InputError`."""
        self._check(limit)
        room = limit - self.weights - self.kept
        return min([usual, *((room - fixed) // each for fixed, each in self.decoders.values() if each)])

    def batch(self, limit: int, usual: int) -> int:
        """The most inputs, `usual` at most, that may be run at once within `limit` bytes. Raises `InputError`."""
        self._check(limit)
        return min(usual, (limit - self.weights) // max(1, self.peak(1) - self.weights))

    def run_bytes(self, graph: str, inputs: Mapping[str, Tensor], usual: int, queries: Collection[str] = ()) -> int:
        """Bytes of a run's values; `usual` elements are in the inputs of `encode` that was planned for.

        `queries` are the inputs that have an axis of queries.
        """
        shapes = [tuple(value.shape) for value in inputs.values()]
        if graph == "encode":
            return int(self.encode * sum(math.prod(shape) for shape in shapes) // usual)
        fixed, each = self.decoders[graph]
        count = next((inputs[name].shape[1] for name in queries if name in inputs), 0)
        return int(shapes[0][0] * (fixed + each * count))

    def _check(self, limit: int) -> None:
        least = self.peak(1)
        if limit < least:
            raise InputError(
                f"this bundle needs {least / 1e6:.0f} MB, {self.weights / 1e6:.0f} of them weights, and may have "
                f"{limit / 1e6:.0f}: allow more, or export it with a smaller --memory-budget, a smaller --image-size or --int8"
            )


def encodes_large(manifest: Manifest) -> bool:
    """Whether one input of the usual size takes more than `KEPT` to encode; not where nothing is planned."""
    return "memory" in manifest.choices and MemoryPlan.of(manifest).encode > KEPT


class ArenaPolicy:
    """Which runs of a graph may keep their memory for the next one: those whose values take `KEPT` bytes at most.

    Memory that goes back to the system comes back page by page: images take 15 to 30 % longer without.
    """

    def __init__(self, plan: MemoryPlan, graph: str, usual: int, queries: Collection[str]) -> None:
        self._plan, self._graph, self._usual, self._queries = plan, graph, usual, queries

    @classmethod
    def of(cls, manifest: Manifest, graph: str) -> ArenaPolicy | None:
        """For a graph; None where it always takes more, or nothing is planned."""
        if "memory" not in manifest.choices or "cost" not in manifest.choices:
            return None
        plan, sizes = MemoryPlan.of(manifest), manifest.choices["cost"]["sizes"]
        shapes = [spec.shape for spec in manifest.graphs["encode"].inputs]
        if any(isinstance(size, str) and size not in sizes for shape in shapes for size in shape):
            return None
        usual = sum(math.prod(sizes[size] if isinstance(size, str) else size for size in shape) for shape in shapes)
        if usual < 1 or (plan.encode > KEPT if graph == "encode" else graph not in plan.decoders):
            return None
        queried = [spec.name for spec in manifest.graphs[graph].inputs if spec.shape[1:2] and spec.shape[1] in ("O", "P")]
        return cls(plan, graph, usual, queried)

    def __call__(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether a run with these inputs may."""
        return self._plan.run_bytes(self._graph, inputs, self._usual, self._queries) <= KEPT
