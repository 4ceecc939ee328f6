"""Running a bundle's graphs as TensorRT engines, built on first use and kept."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perceiver_runtime.backends.cuda import cuda
from perceiver_runtime.backends.device import Arithmetic, Device, reason
from perceiver_runtime.backends.tensorrt.builder import BuildOptions, Profiles, build, spans
from perceiver_runtime.backends.tensorrt.cache import EngineCache, EngineKey
from perceiver_runtime.backends.tensorrt.kernels import Kernels
from perceiver_runtime.backends.tensorrt.library import for_rtx, tensorrt, tensorrt_rtx
from perceiver_runtime.backends.tensorrt.machine import Machine
from perceiver_runtime.backends.tensorrt.memory import Pool
from perceiver_runtime.backends.tensorrt.releases import hand_over
from perceiver_runtime.backends.tensorrt.runner import Engine
from perceiver_runtime.bundle.reader import Bundle
from perceiver_runtime.common.arrays import Tensor
from perceiver_runtime.common.errors import BackendError, NotFiniteError, UsageError

_logger = logging.getLogger("perceiver_runtime")
Phase = Callable[[str], None]


class TensorRTGraph:
    """One graph's engine, ready to run. Threads may share it. What it holds goes with it, closed or dropped."""

    arithmetic: Arithmetic = "float32"

    def __init__(self, runner: Engine, provider: str) -> None:
        self._runner, self.entry, self.name, self.provider = runner, runner.entry, runner.name, provider
        self._dropped = weakref.finalize(self, hand_over, runner.close)
        self._dropped.atexit = False  # the process's end releases all, and threads may be running still
        self._compiled = False

    def run(self, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
        """The outputs in order. Raises `InputError`, and `BackendError` for NaN or infinity too."""
        outputs = [output for output in self._ran(inputs, keep=False) if isinstance(output, np.ndarray)]
        for spec, output in zip(self.entry.outputs, outputs):
            if not np.isfinite(output).all():
                raise NotFiniteError(f"{self.name} gave NaN or infinity in its output {spec.name}")
        return outputs

    def run_on_device(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs, which stay in the GPU's memory. Raises `InputError`, `BackendError`."""
        return self._ran(inputs, keep=True)

    def _ran(self, inputs: Mapping[str, Tensor], *, keep: bool) -> list[Tensor]:
        outputs = self._runner.run(inputs, keep=keep)
        if not self._compiled:  # not every process gets to close
            self._compiled = True
            self._runner.kernels.keep()
        return outputs

    def close(self) -> None:
        """Release the engine and its memory."""
        self._dropped.detach()
        self._runner.kernels.keep()
        self._runner.close()


class Engines:
    """Engines of a bundle for one of this machine's GPUs, from the cache or built."""

    def __init__(self, bundle: Bundle, *, gpu: int = 0, rtx: bool = False) -> None:
        """`rtx`: with TensorRT for RTX.

        Raises `UsageError` for a bundle made for something else, `BackendError` without TensorRT or a GPU of that number.
        """
        check_target(bundle)
        self.bundle = bundle
        self.trt, self.cuda = tensorrt_rtx() if rtx else tensorrt(), cuda().on(gpu)
        self.machine = Machine.here(self.trt, self.cuda)
        self.cache = EngineCache()

    def wanted(self, name: str, profiles: Profiles, options: BuildOptions) -> EngineKey:
        """The engine of a graph."""
        return EngineKey.of(self.bundle, name, profiles, options, self.machine)

    def build(self, wanted: EngineKey, progress: Phase) -> bytes:
        """Build and keep it, unless it is there."""
        entry = self.bundle.manifest.graphs[wanted.graph]

        def make() -> bytes:
            _logger.warning(
                "building the TensorRT engine of %s for %s: this takes minutes, once",
                wanted.graph,
                self.machine.gpu or "this GPU",
            )
            graph, timings = self.bundle.graph(wanted.graph), self.cache.timing_cache(self.machine)
            self.cuda.use()
            return build(self.trt, graph, self.bundle.weights, entry, wanted.profiles, wanted.options, progress, timings)

        plan, lost = self.cache.get_or_build(wanted, str(self.bundle.folder), make, _logger.warning)
        if lost:
            _logger.warning("the engine of %s could not be kept and will be built again next time: %s", wanted.graph, lost)
        return plan

    def open(self, name: str, pool: Pool) -> Engine:
        """The engine built last for this graph here, whatever sizes it was built for; else a new one for all sizes."""
        default = self.wanted(name, spans(self.bundle.manifest.ranges), BuildOptions())
        wanted = self.cache.latest(default) or default
        entry = self.bundle.manifest.graphs[name]
        plan = self.build(wanted, _silent)
        kernels = Kernels(self.trt, self.cache.compiled(wanted))
        try:
            return Engine(self.trt, self.cuda, pool, plan, entry, name, kernels)
        except BackendError as error:
            _logger.warning("%s: building it again", error)
            self.cache.remove(wanted.key)
        return Engine(self.trt, self.cuda, pool, self.build(wanted, _silent), entry, name, kernels)


def unbuilt(bundle: Bundle, *, rtx: bool = False) -> list[str]:
    """The graphs whose engines are not in the cache yet. Raises `UsageError`, `BackendError`."""
    engines = Engines(bundle, rtx=rtx)
    defaults = {name: engines.wanted(name, spans(bundle.manifest.ranges), BuildOptions()) for name in bundle.manifest.graphs}
    return [name for name, wanted in defaults.items() if engines.cache.latest(wanted) is None]


def open_engines(bundle: Bundle, names: Sequence[str], *, gpu: int = 0, rtx: bool = False) -> dict[str, TensorRTGraph]:
    """The engines of some graphs of a bundle on a GPU, sharing their memory. Raises `UsageError`, `BackendError`."""
    engines = Engines(bundle, gpu=gpu, rtx=rtx)
    pool = Pool(engines.cuda)
    provider = (
        f"TensorRT{' for RTX' if for_rtx(engines.trt) else ''} {engines.machine.tensorrt}{f' (GPU {gpu})' if gpu else ''}"
    )
    return {name: TensorRTGraph(engines.open(name, pool), provider) for name in names}


def unavailable_reason(*, rtx: bool = False) -> str:
    """Why engines cannot be run here; empty where they can."""
    return reason(lambda: tensorrt_rtx() if rtx else tensorrt()) or reason(lambda: cuda())


def check_target(bundle: Bundle) -> None:
    """Raise `UsageError` unless the bundle's graphs are for TensorRT."""
    if bundle.manifest.target != "tensorrt":
        raise UsageError(f"{bundle.folder} is for ONNX Runtime: export it again with --target tensorrt")


TENSORRT = Device(
    "tensorrt",
    lambda bundle, names, options: open_engines(bundle, names, gpu=options.gpu),
    lambda bundle: reason(lambda: check_target(bundle)) or unavailable_reason(),
    numbered=True,
)
TENSORRT_RTX = Device(
    "tensorrt-rtx",
    lambda bundle, names, options: open_engines(bundle, names, gpu=options.gpu, rtx=True),
    lambda bundle: reason(lambda: check_target(bundle)) or unavailable_reason(rtx=True),
    numbered=True,
)


def _silent(phase: str) -> None:
    pass
