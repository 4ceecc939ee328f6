"""What all pipelines share: opening a bundle's graphs, closing them, timing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.bundle import Bundle
from perceiver_runtime.errors import BackendError, IntegrityError
from perceiver_runtime.onnx_backend import OnnxGraph
from perceiver_runtime.timing import Timing

Array = NDArray[Any]
Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
Self = TypeVar("Self", bound="Pipeline")
FUSED = "model"  # the graph of the whole model, for other tools


def silent(done: int, total: int) -> None:
    """Progress that nobody wants to see."""


class Pipeline(ABC):
    """A task from a bundle. Callable, safe to share between threads, closes on `with`."""

    graph_names: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(self, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> None:
        entries = bundle.manifest.graphs
        if set(entries) - {FUSED} != set(self.graph_names):
            wanted = ", ".join(self.graph_names)
            raise IntegrityError(f"a {bundle.manifest.task} bundle has the graphs {wanted}, this one {', '.join(entries)}")
        self.manifest = bundle.manifest
        self.timing = Timing()
        self.graphs = {
            name: OnnxGraph(bundle.path(entries[name].file), entries[name], device=device, threads=threads)
            for name in self.graph_names
        }
        for entry in bundle.manifest.files:  # nothing that was hashed may have changed while sessions opened
            bundle.path(entry.path)

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider in use."""
        return self.graphs[self.graph_names[0]].provider

    def run(self, graph: str, inputs: Mapping[str, Array], *, shape: tuple[int | None, ...]) -> Floats:
        """The first output of a graph, which should have `shape` (None: any size). Raises `BackendError`."""
        with self.timing.stage("encode" if graph == "encode" else "decode"):
            output = self.graphs[graph].run(inputs)[0]
        if output.ndim != len(shape) or any(wanted not in (None, size) for wanted, size in zip(shape, output.shape)):
            raise BackendError(f"{graph} gave an output of shape {output.shape}, expected {shape}")
        return output

    @abstractmethod
    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The pipeline's answer to the inputs of a bundle's sample.npz, by name of output."""

    def close(self) -> None:
        """Release the sessions. Also done at the end of a `with` block."""
        for graph in self.graphs.values():
            graph.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
