"""A graph on several devices: a call goes to the one with the fewest calls, what follows it to where its latents are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.device import Graph
from perceiver_runtime.common.arrays import Array, DeviceArray, Tensor, gather_rows

T = TypeVar("T")


class Balance:
    """How many calls each device has, of all graphs of a pipeline."""

    def __init__(self, devices: int) -> None:
        self._calls = [0] * devices
        self._next = 0  # among equals they take turns
        self._lock = threading.Lock()

    @contextmanager
    def call(self, place: int | None) -> Iterator[int]:
        """One more call meanwhile, on the device `place` or, with None, the one with the fewest."""
        with self._lock:
            if place is None:
                count = len(self._calls)
                place = min(range(count), key=lambda each: (self._calls[each], (each - self._next) % count))
                self._next = place + 1
            self._calls[place] += 1
        try:
            yield place
        finally:
            with self._lock:
                self._calls[place] -= 1


class SpreadArray:
    """A `DeviceArray` that knows its device."""

    def __init__(self, array: DeviceArray, place: int) -> None:
        self.array, self.place, self.shape = array, place, array.shape

    def numpy(self) -> Array:
        """A copy in the host's memory."""
        return self.array.numpy()

    def rows(self, start: int, stop: int) -> SpreadArray:
        """`[:, start:stop]` of a batch of one, without copying."""
        return SpreadArray(self.array.rows(start, stop), self.place)

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """`[:, rows]` of a batch of one, on the device if it can gather there."""
        found = gather_rows(self.array, rows)
        return found if isinstance(found, np.ndarray) else SpreadArray(found, self.place)


class SpreadGraph:
    """One graph on several devices, each with weights of its own. Threads may share it, and use all devices then."""

    def __init__(self, graphs: Sequence[Graph], balance: Balance) -> None:
        self._graphs, self._balance = list(graphs), balance
        first = self._graphs[0]
        self.name, self.entry, self.arithmetic = first.name, first.entry, first.arithmetic
        self.provider = "; ".join(graph.provider for graph in self._graphs)

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The outputs in order."""
        outputs, _ = self._call(inputs, lambda graph, given: graph.run(given))
        return outputs

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs in order, left in the memory of what computed them."""
        outputs, place = self._call(inputs, lambda graph, given: graph.run_on_device(given))
        return [each if isinstance(each, np.ndarray) else SpreadArray(each, place) for each in outputs]

    def _call(self, inputs: Mapping[str, Tensor], work: Callable[[Graph, Mapping[str, Tensor]], T]) -> tuple[T, int]:
        owners = [value.place for value in inputs.values() if isinstance(value, SpreadArray)]
        with self._balance.call(owners[0] if owners else None) as place:
            given = {name: _on(place, value) for name, value in inputs.items()}
            return work(self._graphs[place], given), place

    def close(self) -> None:
        """Release all of them, also where one fails."""
        with ExitStack() as closing:
            for graph in self._graphs:
                closing.callback(graph.close)


def _on(place: int, value: Tensor) -> Tensor:
    """As the graph on a device takes it."""
    if not isinstance(value, SpreadArray):
        return value
    return value.array if value.place == place else value.numpy()


def spread(opened: Sequence[Mapping[str, Graph]]) -> dict[str, Graph]:
    """Graphs by name, of those that were opened on each device."""
    balance = Balance(len(opened))
    return {name: SpreadGraph([graphs[name] for graphs in opened], balance) for name in opened[0]}
