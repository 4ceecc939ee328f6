"""What all pipelines share: opening a bundle's graphs, closing them, timing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.device import Arithmetic, Graph
from perceiver_runtime.backends.input_check import check_inputs
from perceiver_runtime.backends.selection import open_graphs, unplanned, without_gpu
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.memory_plan import MemoryPlan
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Array, Tensor
from perceiver_runtime.common.errors import BackendError, IntegrityError, UsageError
from perceiver_runtime.common.forks import Opened
from perceiver_runtime.common.heap import release_heap
from perceiver_runtime.common.timing import Timing
from perceiver_runtime.tasks.calls import side_by_side, whole_call

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
Self = TypeVar("Self", bound="Pipeline")
T = TypeVar("T")
R = TypeVar("R")
FUSED = "model"  # the graph of the whole model, for other tools


def silent(done: int, total: int) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True)
class RuntimeOptions:
    """Where graphs run, with how many threads, and in how many bytes: see `perceiver_runtime.load`.

    With an `opener` they are elsewhere, take `max_batch` inputs at most, and parts of an input go `concurrency` at a time.
    `call` gives what is entered around each call of the pipeline.
    """

    device: str | Sequence[str] = "auto"
    threads: int | None = None
    max_memory: int | None = None
    opener: Callable[[Bundle, Sequence[str]], Mapping[str, Graph]] | None = None
    max_batch: int | None = None
    call: Callable[[], AbstractContextManager[object]] = nullcontext
    concurrency: int = 1


class Pipeline(Opened, ABC):
    """A task from a bundle. Callable, safe to share between threads, not with forked processes, closes on `with`."""

    graph_names: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(self, bundle: Bundle, runtime_options: RuntimeOptions) -> None:
        self.check_graphs(bundle.manifest)
        self.manifest = bundle.manifest
        self.folder = bundle.folder  # that it was opened from; of the hub's, in its cache
        self.timing = Timing()
        self.call, self._concurrency = runtime_options.call, runtime_options.concurrency
        self._max_memory = runtime_options.max_memory
        self._largest_batch = self.manifest.ranges["B"].max if "B" in self.manifest.ranges else 1
        if runtime_options.max_memory is not None:
            others = unplanned(runtime_options.device)
            if others:
                raise UsageError(
                    f"memory is planned for ONNX Runtime on a CPU or CUDA, not for {', '.join(others)}: leave out the limit"
                )
            self._largest_batch = MemoryPlan.of(self.manifest).batch(runtime_options.max_memory, self._largest_batch)
            if runtime_options.device == "auto":
                runtime_options = replace(runtime_options, device=without_gpu(bundle))
        if runtime_options.max_batch is not None:
            self._largest_batch = min(self._largest_batch, runtime_options.max_batch)
        self.graphs: dict[str, Graph] = (
            open_graphs(
                bundle,
                self.graph_names,
                device=runtime_options.device,
                threads=runtime_options.threads,
                keep=runtime_options.max_memory is None,
                max_memory=runtime_options.max_memory,
            )
            if runtime_options.opener is None
            else dict(runtime_options.opener(bundle, self.graph_names))
        )
        self.opened_here()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in {"__call__", "known_answer"} & set(vars(cls)):
            setattr(cls, name, whole_call(vars(cls)[name]))

    @classmethod
    def check_graphs(cls, manifest: Manifest) -> None:
        """Raise `IntegrityError` unless the graphs are those of the task."""
        if set(manifest.graphs) - {FUSED} != set(cls.graph_names):
            wanted = ", ".join(cls.graph_names)
            raise IntegrityError(f"a {manifest.task} bundle has the graphs {wanted}, this one {', '.join(manifest.graphs)}")

    @property
    def provider(self) -> str:
        """What runs the graphs: an execution provider of ONNX Runtime, or TensorRT or OpenVINO with its version, a server."""
        return self.graphs[self.graph_names[0]].provider

    @property
    def arithmetic(self) -> Arithmetic:
        """What products of a float32 bundle are computed in, on this device."""
        return self.graphs[self.graph_names[0]].arithmetic

    def batches(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        """The items in parts, each as large as the graphs take it and memory has room for."""
        for start in range(0, len(items), self._largest_batch):
            yield items[start : start + self._largest_batch]

    def side_by_side(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """`work(item)` of each item in order: one after the other, or on a server as many at a time as was asked for."""
        return side_by_side(work, items, self._concurrency)

    def query_limit(self, usual: int) -> int:
        """How many queries are decoded at once: `usual`, or as many as memory has room for."""
        return usual if self._max_memory is None else MemoryPlan.of(self.manifest).queries(self._max_memory, usual)

    def run(self, graph: str, inputs: Mapping[str, Tensor], *, shape: tuple[int | None, ...]) -> Floats:
        """The first output of a graph, which should have `shape` (None: any size). Raises `BackendError`."""
        output = self.outputs(graph, inputs)[0]
        _check(graph, output.shape, shape)
        return output

    def outputs(self, graph: str, inputs: Mapping[str, Tensor]) -> list[Floats]:
        """The outputs of a graph in order. Raises `InputError`, `BackendError`."""
        self.check_process()
        check_inputs(graph, self.manifest.graphs[graph], self.manifest.ranges, inputs)
        with self.timing.stage("encode" if graph == "encode" else "decode"):
            outputs = self.graphs[graph].run(inputs)
            if graph == "encode":  # decoding takes small parts of memory again and again
                release_heap()
        return outputs

    def encode_inputs(self, inputs: Mapping[str, Array], *shapes: tuple[int | None, ...]) -> list[Tensor]:
        """The outputs of `encode`, which should have `shapes`, for decoders: on a GPU they stay there."""
        self.check_process()
        check_inputs("encode", self.manifest.graphs["encode"], self.manifest.ranges, inputs)
        with self.timing.stage("encode"):
            outputs = self.graphs["encode"].run_on_device(inputs)
            release_heap()
        for output, shape in zip(outputs, shapes):
            _check("encode", output.shape, shape)
        return outputs

    @abstractmethod
    def __call__(self, *args: Any, **options: Any) -> Any:
        """What each task takes and gives, its own pipeline says."""

    def map(
        self,
        inputs: Iterable[Any],
        *,
        batch_size: int = 1,
        on_error: Literal["raise", "return"] = "raise",
        progress: Callable[[int, int | None], None] | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """The answer to each of many inputs, in order: lazy, with `batch_size` inputs in memory, and `options` for each call.

        An input is what the pipeline is called with, a tuple where that is several: `flow.map([(frame1, frame2), …])`. One that
        cannot be used takes nothing from the others of its batch: with `on_error="return"` its `InputError` stands in place of
        its answer, else it is raised when its turn comes, and says which input it was, as `inputs[7]`. `progress(done, total)`
        counts inputs; `total` is None where `inputs` has no length. Raises `UsageError`, `InputError`, `BackendError`.

        >>> for labels in classify.map(Path("photos").glob("*.jpg"), batch_size=8, on_error="return"):
        ...     print(labels)
        """
        from perceiver_runtime.tasks.jobs.mapping import map_inputs  # these modules import this one
        from perceiver_runtime.tasks.registry import find_task

        task = find_task(self.manifest.task)
        assert task is not None  # it was loaded
        return map_inputs(self, task, inputs, batch_size=batch_size, on_error=on_error, progress=progress, options=options)

    @abstractmethod
    def known_answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The pipeline's answer to the inputs of a bundle's sample.npz, by name of output."""

    def close(self) -> None:
        """Release the sessions. Also done at the end of a `with` block. In a forked child it does nothing."""
        if self.inherited:
            return
        for graph in self.graphs.values():
            graph.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _check(graph: str, found: tuple[int, ...], wanted: tuple[int | None, ...]) -> None:
    if len(found) != len(wanted) or any(size not in (None, own) for size, own in zip(wanted, found)):
        raise BackendError(f"{graph} gave an output of shape {found}, expected {wanted}")
