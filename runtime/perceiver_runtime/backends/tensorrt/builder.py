"""A graph of a verified bundle to a TensorRT engine, the same way on 10.3 to 11 and on TensorRT for RTX.

Networks are strongly typed: precision is what the graph says. TensorRT reports failure by None, False or -1 and by its log:
every return is checked, and what the log said is in the error.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from perceiver_runtime.backends.tensorrt.library import for_rtx
from perceiver_runtime.backends.tensorrt.log import new_log, translated
from perceiver_runtime.bundle.graph_check import CheckedGraph
from perceiver_runtime.bundle.held_file import HeldFile, steadily
from perceiver_runtime.bundle.manifest import GraphEntry, Range
from perceiver_runtime.common.errors import BackendError, UsageError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ProfileRange:
    """A dynamic size in an optimization profile of an engine: from `min` to `max`, fastest at `opt`."""

    min: int
    opt: int
    max: int


Profile = Mapping[str, ProfileRange]  # by name of the dynamic size
Profiles = tuple[Profile, ...]


@dataclass(frozen=True)
class BuildOptions:
    """`workspace` bytes cap the memory of what is computed on the way, on a Jetson shared with all else; None: all there is.

    `optimization_level` is 0 to 5, None TensorRT's own. `compute_capabilities`, such as SM86, are for TensorRT for RTX alone.
    """

    workspace: int | None = None
    optimization_level: int | None = None
    compute_capabilities: tuple[str, ...] = ()


def spans(ranges: Mapping[str, Range], *chosen: Profile) -> Profiles:
    """A profile for each of `chosen`, one without any: the manifest's ranges, fastest at their largest, but for what is chosen.

    Raises `UsageError`.
    """
    return tuple(_span(ranges, each) for each in chosen or ({},))


def _span(ranges: Mapping[str, Range], chosen: Profile) -> Profile:
    result = {name: ProfileRange(span.min, span.max, span.max) for name, span in ranges.items()}
    for name, span in chosen.items():
        if name not in ranges:
            raise UsageError(f"the bundle has no size {name!r}: it has {', '.join(ranges)}")
        limit = ranges[name]
        if not limit.min <= span.min <= span.opt <= span.max <= limit.max:
            raise UsageError(f"{name}={span.min}:{span.opt}:{span.max} should rise within {limit.min} to {limit.max}")
        result[name] = span
    return result


def of_graph(entry: GraphEntry, profiles: Profiles) -> Profiles:
    """The profiles as far as they matter to a graph: its own sizes, and what is the same then once."""
    names = {size for spec in entry.inputs for size in spec.shape if isinstance(size, str)}
    found: list[Profile] = []
    for each in profiles:
        own = {name: span for name, span in each.items() if name in names}
        if own not in found:
            found.append(own)
    return tuple(found)


class TimingCache(Protocol):
    """Where TensorRT's measurements of kernels are kept from one build to the next."""

    def read(self) -> bytes:
        """What `write` was given last, or nothing."""

    def write(self, data: bytes) -> None:
        """Keep it."""


def build(
    trt: Any,
    graph: CheckedGraph,
    weights: HeldFile | None,
    entry: GraphEntry,
    profiles: Profiles,
    options: BuildOptions,
    progress: Callable[[str], None],
    timing_cache: TimingCache | None = None,
) -> bytes:
    """The engine. Raises `BackendError` with what TensorRT said, `KeyboardInterrupt` on Ctrl-C."""
    log = new_log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # pybind's way of saying that the factory returned nullptr
        raise BackendError(f"TensorRT {trt.__version__} finds no usable GPU or driver: build on the device") from error
    with translated(f"TensorRT {trt.__version__} cannot build {graph.name}", log):
        network, parser, parsed = steadily(lambda: _parse(trt, builder, log, graph, weights))
        if not parsed:
            errors = [parser.get_error(number) for number in range(parser.num_errors)]
            reasons = [f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]
            raise BackendError(f"TensorRT {trt.__version__} cannot read {graph.name}: {'; '.join(reasons) or log.last()}")
        config = builder.create_builder_config()
        _configure(trt, config, options)
        for sizes in of_graph(entry, profiles):
            profile = builder.create_optimization_profile()
            for spec in entry.inputs:
                profile.set_shape(spec.name, *shapes(spec.shape, sizes))
            if config.add_optimization_profile(profile) < 0:
                raise BackendError(f"TensorRT {trt.__version__} refuses the sizes for {graph.name}: {log.last()}")
        timings = config.create_timing_cache(timing_cache.read()) if timing_cache else None
        if timings is not None:
            config.set_timing_cache(timings, False)
        with _interruptible() as interrupted:
            config.progress_monitor = _monitor(trt, progress, interrupted)
            plan = builder.build_serialized_network(network, config)
            if interrupted.is_set():
                raise KeyboardInterrupt
        if plan is None:
            raise BackendError(f"TensorRT {trt.__version__} cannot build {graph.name}: {log.last()}")
        if timing_cache and (timings := config.get_timing_cache()) is not None:
            timing_cache.write(bytes(memoryview(timings.serialize())))
        return bytes(memoryview(plan))


def _parse(trt: Any, builder: Any, log: Any, graph: CheckedGraph, weights: HeldFile | None) -> tuple[Any, Any, bool]:
    """The network, the parser, which has to live as long, and whether it was read."""
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, log)
    if weights is None:
        return network, parser, parser.parse(graph.content)
    with weights.named() as (folder, name):  # weights are looked for beside the path that is given
        return network, parser, parser.parse(graph.located(name), f"{folder}/{graph.name}")


def shapes(shape: Sequence[int | str], sizes: Profile) -> tuple[Shape, Shape, Shape]:
    """An input's smallest, best and largest shape."""
    each = [sizes[size] if isinstance(size, str) else ProfileRange(size, size, size) for size in shape]
    return tuple(span.min for span in each), tuple(span.opt for span in each), tuple(span.max for span in each)


def _strongly_typed(trt: Any) -> int:
    """By name, not by number: the number changed between 10 and 11."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if "STRONGLY_TYPED" in flags.__members__ else 0


def _configure(trt: Any, config: Any, options: BuildOptions) -> None:
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if "TF32" in trt.BuilderFlag.__members__:
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    if options.compute_capabilities and not for_rtx(trt):
        raise UsageError(f"TensorRT {trt.__version__} builds for the GPU it finds: leave out the GPU models")
    if options.compute_capabilities:
        known = trt.ComputeCapability.__members__
        config.num_compute_capabilities = len(options.compute_capabilities)
        for place, model in enumerate(options.compute_capabilities):
            if model not in known:
                raise UsageError(f"unknown GPU model {model!r}; this TensorRT has {', '.join(sorted(known))}")
            config.set_compute_capability(known[model], place)


def _monitor(trt: Any, progress: Callable[[str], None], interrupted: threading.Event) -> Any:
    """Tells of phases, and asks TensorRT to stop once `interrupted`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return not interrupted.is_set()

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets an event meanwhile: an exception must not pass through TensorRT's own frames."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    usual = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, usual)
