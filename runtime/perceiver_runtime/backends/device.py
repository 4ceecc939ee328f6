"""The record of a device, and what a graph that runs on one is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle.manifest import GraphEntry
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import PerceiverError

Arithmetic = Literal["float32", "bfloat16"]  # of the products of a float32 graph


class Graph(Protocol):
    """A graph, ready to run. Threads may share it."""

    name: str
    entry: GraphEntry
    provider: str
    arithmetic: Arithmetic

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The outputs in order."""

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs in order, left in the memory of what computed them."""

    def close(self) -> None:
        """Release what it holds."""


@dataclass(frozen=True)
class OpenOptions:
    """How graphs are opened.

    `threads` (None: what cores.py says), `keep`: what takes little keeps its memory, `gpu`: its number,
    `max_memory`: bytes that no graph may go beyond, where the device can be held to it.
    """

    threads: int | None = None
    keep: bool = False
    gpu: int = 0
    max_memory: int | None = None


@dataclass(frozen=True)
class Device:
    """A device that users name.

    `open` opens some graphs of a bundle, by name; it raises `UsageError` and `BackendError`. `unavailable_reason` says why a
    bundle does not run there, empty where it should. `is_cpu`: without bfloat16 bundles. `planned`: the memory plan of a bundle
    holds there. `numbered`: it is one of several GPUs, as in cuda:1.
    """

    name: str
    open: Callable[[Bundle, Sequence[str], OpenOptions], Mapping[str, Graph]]
    unavailable_reason: Callable[[Bundle], str]
    is_cpu: bool = False
    planned: bool = False
    numbered: bool = False


def reason(check: Callable[[], object]) -> str:
    """What a check raises, as a text; empty where it passes."""
    try:
        check()
    except PerceiverError as error:
        return str(error)
    return ""
